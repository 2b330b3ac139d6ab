"""Runs read from their folders."""

import json

import pytest

from src.errors import InputError
from src.sweep.run_records import (
    canonical_value,
    find_runs,
    find_varied_keys,
    override_dict,
    read_run,
    resolve_metric,
    shorten_value,
)
from src.sweep.table import compare_runs
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
    with pytest.raises(InputError, match="is no folder"):
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
