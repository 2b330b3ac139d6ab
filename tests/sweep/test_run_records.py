"""Runs read from their folders."""

import json
import os
from itertools import pairwise

import pytest

from src.errors import InputError
from src.sweep.comparison import compare_runs, find_varied_keys, resolve_metric
from src.sweep.run_records import canonical_value, find_runs, override_dict, read_run, shorten_value
from src.sweep.table import run_rows, sweep_summary
from src.training.csv_logger import EpochCSVLogger
from tests.run_folders import make_run


def test_a_metric_that_no_run_has_is_refused_and_the_error_lists_the_others(sweep):
    with pytest.raises(InputError, match="val/f1: no run has it; there are: test/acc, val/acc, val/loss"):
        compare_runs(find_runs([str(sweep)]), "val/f1")


def test_runs_that_monitor_different_metrics_need_one(tmp_path):
    make_run(tmp_path, 0, [], 0.9)
    make_run(tmp_path, 1, [], 0.1, monitor="val/loss")
    with pytest.raises(InputError, match="give metric="):
        resolve_metric(find_runs([str(tmp_path)]))


def test_values_that_were_not_overridden_are_read_from_the_config(tmp_path):
    make_run(tmp_path, 0, ["model=cnn"], 0.9, choices={"model": "cnn"})
    make_run(tmp_path, 1, ["optimizer.lr=0.01"], 0.8)
    runs = find_runs([str(tmp_path)])
    assert find_varied_keys(runs) == ["model", "optimizer.lr"]
    assert [run.value("optimizer.lr") for run in runs] == ["0.003", "0.01"]
    assert [run.value("model") for run in runs] == ["cnn", "lenet"]


def test_a_group_without_an_option_is_null_as_one_types_it(tmp_path):
    make_run(tmp_path, 0, ["scheduler=null"], 0.9, choices={"scheduler": None})
    make_run(tmp_path, 1, ["experiment=probe"], 0.8, choices={"scheduler": None, "experiment": "probe"})
    make_run(tmp_path, 2, [], 0.7, choices={"scheduler": None, "experiment": None})
    runs = find_runs([str(tmp_path)])
    assert [run.value("scheduler") for run in runs] == ["null"] * 3
    assert [run.value("experiment") for run in runs] == [None, "probe", "null"]
    assert find_varied_keys(runs) == ["experiment"]


def test_equal_values_have_one_spelling():
    assert canonical_value("1e-3") == canonical_value("0.001") == canonical_value("'0.0010'")
    assert canonical_value("lenet") == "lenet"
    assert override_dict(["+a=1", "hydra.run.dir=x", "sweep.max_jobs=2", "figures=false", "b=c=d"]) == {
        "a": "1",
        "b": "c=d",
    }


def test_long_numbers_keep_their_digits():
    assert canonical_value("20240101") != canonical_value("20240102")
    assert canonical_value("0.1234567") != canonical_value("0.1234568")
    assert (shorten_value("20240101"), shorten_value("0.0121827123"), shorten_value("lenet")) == (
        "20240101",
        "0.0121827",
        "lenet",
    )


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(InputError, match="no run in it"):
        find_runs([str(tmp_path)])
    with pytest.raises(InputError, match="does not exist"):
        find_runs([str(tmp_path / "missing")])


def test_evaluations_are_not_listed_as_runs(sweep):
    path = make_run(sweep, "later", [], 0.99)
    (path / "status.json").write_text(json.dumps({"state": "finished", "command": "evaluate"}))
    assert "later" not in [run.name for run in find_runs([str(sweep)])]


def test_half_written_files_count_as_missing(tmp_path):
    path = make_run(tmp_path, 0, ["seed=0"], 0.9)
    (path / "results.json").write_text('{"monitor": "val')
    (path / ".hydra" / "config.yaml").write_text("a: [")
    run = read_run(path, "0")
    assert run.score("val/acc") is None
    assert run.value("optimizer.lr") is None


DAMAGE = {
    "status.json": ["{", "[]", '{"state": 3}', '{"state": ["running"]}', '{"state": "done"}',
                    '{"state": "finished", "seconds": "2"}', '{"state": "failed", "error": ["x"]}',
                    '{"state": "finished", "seconds": NaN}', "[" * 100_000, "\xff", " " * 70_000_000],
    "results.json": ["{", "[]", '{"val": []}', '{"test": 3}', '{"monitor": 1}', '{"best_epoch": "2"}', None,
                     '{"test": {"acc": "high"}}', '{"test": {"acc": [0.9]}}', '{"val": {"acc": true}}'],
    ".hydra/config.yaml": ["a: [", "[1]", "\x00", "a: ${b"],
    ".hydra/hydra.yaml": ["hydra: {", "[]"],
    ".hydra/overrides.yaml": ["- [", "a: 1"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "index"), [(name, index) for name, texts in DAMAGE.items() for index in range(len(texts))]
)
def test_damaged_files_of_a_run_are_named_and_do_not_end_a_comparison(sweep, name, index):
    file, text = sweep / "1" / name, DAMAGE[name][index]
    file.unlink()
    if text is not None:
        file.write_bytes(text.encode("latin-1"))
    runs = find_runs([str(sweep)])
    damaged = next(run for run in runs if run.name == "1")
    assert damaged.state == "damaged"
    assert damaged.error.startswith(f"{name}: ") or "No such file" in damaged.error
    comparison = compare_runs(runs)
    assert all(
        run.state != "damaged" for configuration in comparison.configurations for run in configuration.repetitions
    )
    rows = run_rows(comparison)
    assert [row[-1] for row in rows if row[0] == "1"] == [damaged.error]
    assert "damaged" in sweep_summary(comparison)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, None])
def test_a_score_is_a_finite_number(tmp_path, value):
    run = read_run(make_run(tmp_path, 0, [], 0.9, test={"acc": value}), "0")
    assert (run.score("val/acc"), run.score("test/acc")) == (0.9, None)


def test_files_that_never_end_or_grow_are_not_read(tmp_path):
    folder = make_run(tmp_path, 0, ["a=1"], 0.9)
    ladder = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n" for before, after in pairwise("abcdefghijk")
    )
    (folder / ".hydra/config.yaml").write_text(ladder)
    for name in ("metrics.csv", ".hydra/hydra.yaml"):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)
    (folder / ".hydra/overrides.yaml").write_text("a: 1\n")
    run = read_run(folder, "0")
    assert (run.history, run.config, run.choices, run.overrides) == ({}, {}, {}, {})
    (folder / "status.json").unlink()
    os.mkfifo(folder / "status.json")
    assert read_run(folder, "0").state == "damaged"


TABLES = ["epoch,val/acc\n1,0.5,3\n", "epoch,val/acc\n1\n", "val/acc\n1\n", "epoch,val/acc\none,2\n"]


@pytest.mark.parametrize("text", [*TABLES, "epoch,val/acc\n1,high\n", "epoch,val/acc\n1,\0\n"])
def test_a_damaged_table_of_epochs_has_no_curve(tmp_path, text):
    folder = make_run(tmp_path, 0, [], 0.9)
    (folder / "metrics.csv").write_text(text)
    assert read_run(folder, "0").history == {}


@pytest.mark.parametrize("text", TABLES)
def test_no_resumed_run_writes_into_a_damaged_table_of_epochs(tmp_path, text):
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(InputError, match=r"metrics\.csv is damaged .*: move it away"):
        EpochCSVLogger(str(tmp_path / "metrics.csv"))
