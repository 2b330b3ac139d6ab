"""Which file ckpt=<run folder, file or newest> stands for."""

import os

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
