"""The ledger of a sweep, its budget, and what may change on resume."""

import json

import pytest

from src.errors import InputError, duration
from src.sweep.ledger import (
    ADDED_JOBS,
    LEDGER_FILE,
    Budget,
    Ledger,
    config_dir_flags,
    find_sweep,
    flatten_space,
    job_identity,
    merge_overrides,
    open_ledger,
)


def test_a_ledger_is_read_as_it_was_saved_and_found_by_its_folder(tmp_path):
    Ledger(tmp_path, ["model=a,b", "trainer.max_epochs=2"], [["model=a"], ["model=b"]]).save()
    assert Ledger.read(tmp_path).jobs == [["model=a"], ["model=b"]]
    assert find_sweep(str(tmp_path)) == tmp_path
    with pytest.raises(InputError, match="there is no sweep"):
        find_sweep(str(tmp_path.parent))


@pytest.mark.parametrize(
    "change",
    [
        {"words": "model=a,b"}, {"words": {"model": 1}}, {"words": [1]}, {"words": ["--config-dir"]}, {"words": None},
        {"jobs": [["model=a"], "model=b"]}, {"jobs": [[None]]}, {"jobs": {"0": []}}, {"jobs": [["-m"]]}, {"jobs": 7},
        {"flags": ["--config-dir"]}, {"flags": ["-cp", "x"]}, {"flags": ["--config-dir", 3]}, {"flags": "--config-dir"},
    ],
)  # fmt: skip
def test_a_ledger_that_holds_other_things_is_damaged(tmp_path, change):
    content = {"words": ["model=a,b"], "jobs": [["model=a"]], "flags": ["--config-dir", "mine"]}
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    assert Ledger.read(tmp_path).flags == content["flags"]
    (tmp_path / "sweep.json").write_text(json.dumps(content | change))
    with pytest.raises(InputError, match=r"sweep\.json is damaged: start a new sweep"):
        Ledger.read(tmp_path)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "[]", "null", "\x00", ""])
def test_a_ledger_that_is_no_mapping_is_damaged(tmp_path, text):
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(InputError, match=r"sweep\.json is damaged: start a new sweep"):
        Ledger.read(tmp_path)


def test_only_swept_values_and_changeable_keys_change_on_resume():
    before = ["model=a,b", "trainer.max_epochs=2"]
    assert merge_overrides(before, ["model=a,b,c"]) == ["model=a,b,c", "trainer.max_epochs=2"]
    assert merge_overrides(before, ["hydra/launcher=joblib"])[-1] == "hydra/launcher=joblib"
    assert merge_overrides(before, before) == before
    for word in ("trainer.max_epochs=3", "optimizer.lr=1", "model=a"):
        with pytest.raises(InputError, match=word.partition("=")[0]):
            merge_overrides(before, [word])


def test_changeable_keys_are_no_part_of_a_job_identity():
    assert (
        job_identity(["seed=0", "figures=false"], ())
        == job_identity(["figures=true", "seed=0"], ())
        != job_identity(["seed=1"], ())
    )


def test_a_folder_with_folders_named_like_jobs_is_refused(tmp_path):
    (tmp_path / "0").mkdir()
    with pytest.raises(InputError, match="is no sweep, and has 0 in it"):
        open_ledger(tmp_path, ["seed=0,1"], [])
    (tmp_path / "0").rmdir()
    open_ledger(tmp_path, ["seed=0,1"], []).save()
    with pytest.raises(InputError, match="model was not given"):
        open_ledger(tmp_path, ["seed=0,1", "model=cnn"], [])


def test_a_config_dir_is_recorded(tmp_path):
    assert config_dir_flags(["-m", "--config-dir", str(tmp_path), "a=1"]) == ["--config-dir", str(tmp_path)]
    Ledger(tmp_path, [], [], ["--config-dir", "x"]).save()
    assert Ledger.read(tmp_path).flags == ["--config-dir", "x"]
    assert flatten_space({"a": {"b": "x", "c": {"space": "y"}}}) == {"a.b": "x", "a.c": {"space": "y"}}


def test_limits_are_parsed_and_checked():
    assert duration("sweep.max_time", None, optional=True) is None
    for value in (90, "90", "1:30", "0:01:30", "00:00:01:30"):
        assert duration("sweep.max_time", value) == 90.0
    for value in ("soon", -1, 0, "1:2:3:4:5", True):
        with pytest.raises(InputError, match=r"sweep\.max_time"):
            Budget(value)
    budget = Budget(max_jobs=1)
    assert budget.limit_reached() == ""
    budget.started_jobs += 1
    assert budget.limit_reached() == "sweep.max_jobs"
    for value in (0, 1.5, "many", True):
        with pytest.raises(InputError, match=r"sweep\.max_jobs"):
            Budget(max_jobs=value)


def test_a_search_adds_a_job_at_the_cost_of_a_line(tmp_path):
    ledger = Ledger(tmp_path, ["a=1,2"], [["a=1"]])
    ledger.save()
    before = (tmp_path / LEDGER_FILE).read_bytes()
    ledger.append(["a=2", "b='x y'"])
    ledger.append(["a=é"])
    assert (tmp_path / LEDGER_FILE).read_bytes() == before
    assert Ledger.read(tmp_path).jobs == ledger.jobs == [["a=1"], ["a=2", "b='x y'"], ["a=é"]]
    with (tmp_path / ADDED_JOBS).open("a") as file:
        file.write('[3, ["a=')  # the machine went down
    again = Ledger.read(tmp_path)
    assert again.jobs == ledger.jobs
    again.save()
    assert not (tmp_path / ADDED_JOBS).exists()
    assert Ledger.read(tmp_path).jobs == ledger.jobs


def test_added_jobs_that_the_ledger_has_already_count_once(tmp_path):
    """A kill between the two steps of `save`."""
    ledger = Ledger(tmp_path, ["a=1"], [])
    ledger.save()
    ledger.append(["a=1"])
    added = (tmp_path / ADDED_JOBS).read_bytes()
    ledger.save()
    (tmp_path / ADDED_JOBS).write_bytes(added)
    assert Ledger.read(tmp_path).jobs == [["a=1"]]


@pytest.mark.parametrize("line", ["3", '[0, "a=1"]', '[0, ["-m"]]', '["x", ["a=1"]]', "[1, [2]]"])
def test_added_jobs_that_are_something_else_are_damage(tmp_path, line):
    Ledger(tmp_path, ["a=1"], []).save()
    (tmp_path / ADDED_JOBS).write_text(f"{line}\n")
    if line.startswith(('["x"', "[1")):  # of no job
        assert Ledger.read(tmp_path).jobs == []
    else:
        with pytest.raises(InputError, match=r"is damaged: start a new sweep"):
            Ledger.read(tmp_path)
