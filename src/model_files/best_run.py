"""The best run of a sweep by validation, as the sweep's own table has it; no torch here."""

from pathlib import Path
from typing import NamedTuple

from src.errors import InputError
from src.evaluation.monitor import monitor_mode
from src.files import read_rows

SWEEP_FILE, TABLE = "sweep.json", "runs.csv"  # in the folder of every sweep


class BestRun(NamedTuple):
    """The folder of a run; metric: of the validation, by which it is the best of `finished` runs."""

    folder: Path
    metric: str
    score: float
    finished: int


def is_sweep(folder: Path) -> bool:
    """Whether src.train -m has written the folder."""
    return (folder / SWEEP_FILE).is_file()


def find_best_run(sweep: Path) -> BestRun:
    """The finished run with the best value of the first validation metric in the sweep's table; pruned runs do not
    count. Raises InputError if the table cannot be read, or no run has finished."""
    try:
        rows = read_rows(sweep / TABLE)
        columns = list(rows[0]) if rows else []
        metric = next((name for name in columns if name.startswith("val/")), None)
        if metric is None or not {"run", "state"} <= set(columns) or not all(row["run"].isdecimal() for row in rows):
            raise ValueError("it is no table of validated runs")
        scores = {row["run"]: float(row[metric]) for row in rows if row["state"] == "finished" and row[metric]}
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"the best run of {sweep} is not known: {TABLE} cannot be read ({reason})") from None
    if not scores:
        raise InputError(f"no run of the sweep {sweep} has finished")
    best = (max if monitor_mode(metric) == "max" else min)(scores, key=lambda name: scores[name])
    return BestRun(sweep / best, metric, scores[best], len(scores))
