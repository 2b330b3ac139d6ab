"""A grid has a job for every combination that was typed, and finds each again when it is resumed."""

from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from src.errors import InputError
from src.sweep.grid_sweeper import GridSweeper
from src.sweep.ledger import CHANGEABLE, Ledger, open_ledger


class PlannedGrid(GridSweeper):
    """A grid that composes no job."""

    def __init__(self, ledger: Ledger, *words: str):
        super().__init__()
        self.context = SimpleNamespace(config_loader=None)
        self.config = OmegaConf.create({"hydra": {"runtime": {"choices": {}}}})
        self.ledger = ledger
        self.plan(OverridesParser.create().parse_overrides(list(words)))

    def check_job(self, overrides) -> None:
        pass


def jobs_of(*words: str) -> list[list[str]]:
    return PlannedGrid(Ledger(Path(), list(words)), *words).ledger.jobs


@pytest.mark.parametrize("prefix", [key for key in CHANGEABLE if not key.startswith(("sweep.", "hydra"))])
def test_keys_that_may_change_on_resume_are_swept_like_any_other(prefix):
    jobs = jobs_of("data=folder", f"{prefix}=a,b", "seed=0,1")
    assert jobs == [["data=folder", f"{prefix}={x}", f"seed={seed}"] for x, seed in product("ab", (0, 1))]


def test_a_value_that_was_typed_twice_runs_twice():
    assert jobs_of("seed=0,0,1") == [["seed=0"], ["seed=0"], ["seed=1"]]


def test_a_resumed_grid_keeps_the_numbers_of_its_jobs(tmp_path):
    words = ["data.root=a,b", "seed=0,0", "figures=true"]
    PlannedGrid(open_ledger(tmp_path, words, []), *words).ledger.save()
    before = Ledger.read(tmp_path).jobs
    more = ["data.root=c,a,b", "seed=0,0", "figures=false"]
    after = PlannedGrid(open_ledger(tmp_path, more, []), *more).ledger.jobs
    assert [job[:2] for job in after[:4]] == [job[:2] for job in before]
    assert [job[:2] for job in after[4:]] == [["data.root=c", "seed=0"]] * 2
    assert {job[2] for job in after} == {"figures=false"}


@pytest.mark.parametrize("words", [["data.root=c"], ["figures=true,false"]])
def test_what_is_swept_stays_swept_and_nothing_else_becomes_so(tmp_path, words):
    open_ledger(tmp_path, ["data.root=a,b", "seed=0", "figures=true"], []).save()
    with pytest.raises(InputError, match=r"sweep\.resume continues the same sweep"):
        open_ledger(tmp_path, words, [])
