"""Options of sweepers and launchers that cannot be used: one line that names the key, nothing of Hydra around it."""

import pytest
from hydra.utils import instantiate

from src.cli.error_line import error_line
from tests.commands import one_line, run

PARAMS = "keys and their values, as +hydra.sweeper.params.seed='range(3)'"
METRICS = "a metric as val/acc, a list of them, or null"
STORAGE = "sqlite, journal or the URL of a database"


@pytest.mark.parametrize(
    ("plugin", "options", "expected"),
    [
        ("OptunaSweeper", {"n_trials": 0}, "hydra.sweeper.n_trials=0: a whole number, at least 1"),
        ("OptunaSweeper", {"n_jobs": "x"}, "hydra.sweeper.n_jobs=x: a whole number, at least 1"),
        ("OptunaSweeper", {"seed": -1}, "hydra.sweeper.seed=-1: a whole number, at least 0"),
        ("OptunaSweeper", {"warmup": 1.5}, "hydra.sweeper.warmup=1.5: a whole number, at least 0"),
        ("OptunaSweeper", {"sampler": "no"}, "hydra.sweeper.sampler=no: one of tpe, cmaes, gp, random, grid"),
        ("OptunaSweeper", {"objectives": 3}, f"hydra.sweeper.objectives=3: {METRICS}"),
        ("OptunaSweeper", {"objectives": [1]}, f"hydra.sweeper.objectives=[1]: {METRICS}"),
        ("OptunaSweeper", {"storage": 3}, f"hydra.sweeper.storage=3: {STORAGE}"),
        ("OptunaSweeper", {"storage": None}, f"hydra.sweeper.storage=null: {STORAGE}"),
        ("OptunaSweeper", {"params": 3}, f"hydra.sweeper.params=3: {PARAMS}"),
        ("GridSweeper", {"params": "a"}, f"hydra.sweeper.params=a: {PARAMS}"),
        ("JoblibLauncher", {"n_jobs": 0}, "hydra.launcher.n_jobs=0: a whole number, at least 1, or null"),
        ("JoblibLauncher", {"threads": "x"}, "hydra.launcher.threads=x: a whole number, at least 1, or null"),
        ("SerialLauncher", {"n": 1}, "hydra.launcher: SerialLauncher refused its options (SerialLauncher() takes no "
         "arguments)"),
        ("GridSweeper", {"n": 1}, "hydra.sweeper: GridSweeper refused its options (GridSweeper.__init__() got an "
         "unexpected keyword argument 'n')"),
    ],
)  # fmt: skip
def test_the_line_is_that_of_the_option(plugin, options, expected):
    with pytest.raises(Exception) as error:
        instantiate({"_target_": f"hydra_plugins.sweep.{plugin}", **options})
    assert error_line(error.value) == expected


def test_a_command_prints_that_line():
    words = ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=0", "seed=1,2")
    assert one_line(run("src.train", "-m", *words)) == "error: hydra.sweeper.n_trials=0: a whole number, at least 1"
