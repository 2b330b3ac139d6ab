"""Which file ckpt=<run folder, file or newest> stands for."""

import logging
import os
from pathlib import Path

import pytest

from src.errors import InputError
from src.model_files.locate import find_checkpoint


def test_checkpoints_are_found(run_folder, tmp_path):
    assert find_checkpoint(str(run_folder), tmp_path).name == "best.ckpt"
    assert find_checkpoint(str(run_folder), tmp_path, "last.ckpt").name == "last.ckpt"
    assert find_checkpoint("newest", run_folder) == run_folder / "checkpoints/best.ckpt"
    for given, message in (
        ("newest", "no run"),
        (str(tmp_path), "no file"),
        (
            "nosuch",
            r"ckpt=nosuch: there is no such file or folder; give ckpt=<run folder>, ckpt=<file.ckpt> or ckpt=newest",
        ),
        (None, "missing"),
        ("s3://x", "URLs"),
    ):
        with pytest.raises(InputError, match=message):
            find_checkpoint(given, tmp_path)


def test_newest_is_the_network_written_last(tmp_path):
    names = ["a/checkpoints/best.ckpt", "b/int8.onnx", "c/model.onnx", "c/checkpoints/last.ckpt"]
    for age, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (age, age))
    found = {name: tmp_path / name for name in names}
    assert find_checkpoint("newest", tmp_path) == found[names[0]], "what needs weights takes no int8"
    assert find_checkpoint("newest", tmp_path, int8=True) == found[names[1]], "an export is no newer network"
    assert find_checkpoint("newest", tmp_path, "last.ckpt", "resume_from") == found[names[3]]
    os.utime(found[names[0]], (9, 9))
    assert find_checkpoint("newest", tmp_path, int8=True) == found[names[0]]
    with pytest.raises(InputError, match=r"has a checkpoints/best\.ckpt or an int8\.onnx; train one"):
        find_checkpoint("newest", tmp_path / "c/nothing", int8=True)


def test_a_folder_with_one_exported_file_is_a_checkpoint(files, tmp_path):
    assert find_checkpoint(str(files[".pt2"]), tmp_path) == files[".pt2"]
    (tmp_path / "one").mkdir()
    (tmp_path / "one/a.onnx").write_bytes(b"")
    (tmp_path / "one/results.json").write_bytes(b"")
    assert find_checkpoint(str(tmp_path / "one"), tmp_path) == tmp_path / "one/a.onnx"
    (tmp_path / "one/b.pt2").write_bytes(b"")
    with pytest.raises(InputError, match="several exported files"):
        find_checkpoint(str(tmp_path / "one"), tmp_path)
    (tmp_path / "one/best.ckpt").write_bytes(b"")
    assert find_checkpoint(str(tmp_path / "one"), tmp_path) == tmp_path / "one/best.ckpt"
    with pytest.raises(InputError, match=r"no last\.ckpt to resume"):
        find_checkpoint(str(tmp_path / "one/a.onnx"), tmp_path, "last.ckpt", "resume_from")
    with pytest.raises(InputError, match="no run in"):
        find_checkpoint("newest", tmp_path / "one")


def write_sweep(folder: Path, table: str, runs: int = 4) -> Path:
    """A sweep with this table; each of its runs has a best checkpoint, written in turn."""
    for number in range(runs):
        path = folder / str(number) / "checkpoints/best.ckpt"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
        os.utime(path, (number, number))
    (folder / "sweep.json").write_text("{}")
    (folder / "runs.csv").write_text(table)
    return folder


RUNS = "run,seed,state,{},test/acc,epoch,error\n3,3,failed,,,,boom\n0,0,finished,{},0.9,2,\n"
RUNS += "1,1,finished,{},0.1,2,\n2,2,pruned,{},0.99,2,\n"


@pytest.mark.parametrize(
    ("metric", "scores", "best"), [("val/acc", (0.8, 0.9, 0.99), "1"), ("val/loss", (0.2, 0.3, 0.01), "0")]
)
def test_a_sweep_is_its_best_finished_run_by_validation(tmp_path, caplog, metric, scores, best):
    sweep = write_sweep(tmp_path / "s", RUNS.format(metric, *scores))
    with caplog.at_level(logging.INFO):
        assert find_checkpoint(str(sweep), tmp_path) == sweep / best / "checkpoints/best.ckpt"
    assert caplog.messages == [f"ckpt={sweep}: run {best}, the best of 2 by {metric} ({scores[int(best)]})"]


def test_newest_tells_which_run_of_a_sweep_it_is(tmp_path, caplog):
    sweep = write_sweep(tmp_path / "s", RUNS.format("val/acc", 0.8, 0.9, 0.99))
    told = []
    assert find_checkpoint("newest", tmp_path, tell=told.append) == sweep / "3/checkpoints/best.ckpt"
    os.utime(sweep / "1/checkpoints/best.ckpt", (9, 9))
    find_checkpoint("newest", tmp_path, tell=told.append)
    (sweep / "runs.csv").unlink()
    find_checkpoint("newest", tmp_path, tell=told.append)
    start = f"ckpt=newest: run {{}} of the sweep {sweep}, the last one written"
    assert told == [
        f"{start.format(3)}; the best by val/acc is run 1: ckpt={sweep}",
        f"{start.format(1)}; the best by val/acc too",
        start.format(1),
    ]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (None, "runs.csv cannot be read"),
        ("", "runs.csv cannot be read"),
        ("run,state,seconds\n0,finished,3\n", "runs.csv cannot be read"),
        ("run,state,val/acc\n../../0,finished,1\n", "runs.csv cannot be read"),
        ("run,state,val/acc\n0,finished,high\n", "runs.csv cannot be read"),
        ("run,state,val/acc\n0,interrupted,\n", "has finished"),
        ("run,state,val/acc\n9,finished,0.5\n", "there is no file"),
    ],
)
def test_a_sweep_without_a_best_run_is_told(tmp_path, table, message):
    sweep = write_sweep(tmp_path / "s", table or "")
    if table is None:
        (sweep / "runs.csv").unlink()
    with pytest.raises(InputError, match=message):
        find_checkpoint(str(sweep), tmp_path)
    with pytest.raises(InputError, match=r"there is no .*; give resume_from="):
        find_checkpoint(str(sweep), tmp_path, "last.ckpt", "resume_from")
