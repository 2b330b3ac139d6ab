"""Whether runs differ on their test images: McNemar's test and a paired bootstrap, of each against the best."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from src.errors import printable
from src.evaluation.predictions import PREDICTIONS, Predictions, load_predictions
from src.sweep.comparison import Comparison, values_text
from src.sweep.run_records import Run

RESAMPLES, SEED = 10_000, 0
MOST_CANDIDATES = 100  # by validation: an interval takes 10,000 resamples
LONGEST_VALUES = 60  # characters of a configuration's values beside the names of its runs


@dataclass(frozen=True)
class Difference:
    """A candidate against the best by validation, on the same test images.

    runs: how many of it were tested. change: of the accuracy, or of the mean absolute error, above 0 where the
    candidate has more; low, high: its 95 % interval. gained, lost: images that only the candidate, or only the best,
    has right; p: McNemar's exact test of these two; p_holm: p after Holm's correction for all candidates. These four
    are None where a side has several runs, or estimates numbers. reason: why nothing is compared, else empty.
    """

    name: str
    runs: int = 0
    change: float | None = None
    low: float | None = None
    high: float | None = None
    gained: int | None = None
    lost: int | None = None
    p: float | None = None
    p_holm: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Differences:
    """best: the candidate that the others are compared with, chosen by `chosen_by`; images: tested, 0 for no test."""

    best: Difference
    chosen_by: str
    images: int
    is_number: bool
    others: list[Difference]

    def to_dict(self) -> dict:
        """Plain values, for JSON."""
        return asdict(self)


def find_differences(comparison: Comparison) -> Differences | None:
    """Each configuration against the best, and where there is one configuration each run; None for one candidate."""
    candidates = _candidates(comparison)
    if len(candidates) < 2:
        return None
    (best_name, best_runs), *rest = candidates[:MOST_CANDIDATES]
    best, reason = _load(best_runs, None)
    if reason:
        return Differences(Difference(best_name, reason=reason), comparison.metric, 0, False, [])
    others = []
    for name, runs in rest:
        found, reason = _load(runs, best[0])
        others.append(Difference(name, reason=reason) if reason else _compare(name, best, found))
    others = _with_holm(others)
    return Differences(
        Difference(best_name, len(best)), comparison.metric, len(best[0].images), best[0].is_number, others
    )


def _candidates(comparison: Comparison) -> list[tuple[str, list[Run]]]:
    """Names and finished runs, best by validation first."""
    found = sorted((c for c in comparison.configurations if c.scores), key=lambda c: comparison.sort_key(c.mean))
    if len(found) > 1:
        return [(_name(c.values, c.repetitions), c.repetitions) for c in found]
    return [(_name({}, [run]), [run]) for run in comparison.ranked() if run.state == "finished"]


def _name(values: dict[str, str], runs: Sequence[Run]) -> str:
    """The runs, which the table above lists, and what is special about them if that is short."""
    names = "run" + "s" * (len(runs) > 1) + " " + " ".join(run.name for run in runs[:6]) + " ..." * (len(runs) > 6)
    text = values_text(values)
    return f"{names} ({text})" if 0 < len(text) <= LONGEST_VALUES else names


def _load(runs: Sequence[Run], reference: Predictions | None) -> tuple[list[Predictions], str]:
    """The predictions of those runs that were tested; or why there are none, or none on the reference's images."""
    found = []
    for run in runs:
        try:
            found.append(load_predictions(run.folder / PREDICTIONS))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            return [], f"{PREDICTIONS} of run {run.name} cannot be read: {' '.join(str(error).split())}"
    if not found:
        return [], f"there is no {PREDICTIONS} (test=false, or a run from before there was one)"
    reference = reference or found[0]
    same = all(one.images == reference.images and one.is_number == reference.is_number for one in found)
    return (found, "") if same else ([], "it was tested on other images")


def _compare(name: str, best: Sequence[Predictions], other: Sequence[Predictions]) -> Difference:
    errors, best_errors = (np.stack([one.errors for one in runs]) for runs in (other, best))
    sign = 1 if best[0].is_number else -1  # of accuracy: one minus the errors
    low, high = sorted(sign * bound for bound in paired_bootstrap(best_errors, errors))
    change = sign * float(errors.mean() - best_errors.mean())
    if best[0].is_number or len(best) > 1 or len(other) > 1:
        return Difference(name, len(other), change, low, high)
    gained, lost = (int((a > b).sum()) for a, b in ((best_errors, errors), (errors, best_errors)))
    return Difference(name, 1, change, low, high, gained, lost, mcnemar(gained, lost))


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided exact p-value of McNemar's test (1947): of the images that one of two networks has right, the share of
    either is a half. gained, lost: how many each has."""
    from scipy.stats import binomtest

    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def paired_bootstrap(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """95 % percentile interval of the mean of `second` less that of `first`, over 10,000 resamples of a fixed seed.

    first, second: (runs, images), with the same images in the same order. Images are resampled together for all runs;
    where a side has several runs, they are resampled too, for another seed would have given others.
    """
    count, runs = first.shape[1], len(first)
    # Images on which all runs do alike are interchangeable: drawing how many of each kind is as good, and fast.
    kinds, sizes = np.unique(np.concatenate([first, second]), axis=1, return_counts=True)
    generator, changes = np.random.default_rng(SEED), []
    step = max(1, (1 << 22) // len(sizes))
    for start in range(0, RESAMPLES, step):
        drawn = generator.multinomial(count, sizes / count, min(step, RESAMPLES - start))
        means = drawn @ kinds.T / count  # (resamples, runs of both)
        before, after = _resample_runs(means[:, :runs], generator), _resample_runs(means[:, runs:], generator)
        changes.append(after - before)
    low, high = np.quantile(np.concatenate(changes), [0.025, 0.975])
    return float(low), float(high)


def _resample_runs(means: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The mean over runs drawn with replacement, for each resample. means: (resamples, runs)."""
    runs = means.shape[1]
    if runs == 1:
        return means[:, 0]
    picked = np.take_along_axis(means, generator.integers(runs, size=means.shape), 1).mean(1)
    center = means.mean(1)
    return center + (picked - center) * math.sqrt(runs / (runs - 1))  # draws from few runs spread too little


def _with_holm(differences: Sequence[Difference]) -> list[Difference]:
    """The same with p_holm (Holm 1979), in their order."""
    tested = sorted((one.p, index) for index, one in enumerate(differences) if one.p is not None)
    adjusted: dict[int, float] = {}
    least = 0.0
    for rank, (p, index) in enumerate(tested):
        least = max(least, min(1.0, (len(tested) - rank) * p))
        adjusted[index] = least
    return [replace(one, p_holm=adjusted.get(index)) for index, one in enumerate(differences)]


def differences_lines(found: Differences, most: int = 20) -> list[str]:
    """A head and a line per candidate, for a terminal and table.md."""
    best = printable(found.best.name, 120)
    if found.best.reason:
        return [f"no test of differences: {best}, the best by {found.chosen_by}: {found.best.reason}"]
    lines = [f"against {best}, the best by {found.chosen_by}, on the same {found.images:,} test images:"]
    lines += [f"  {printable(one.name, 120)}: {_sentence(one, found)}" for one in found.others[:most]]
    if len(found.others) > most:
        lines.append(f"  ... and {len(found.others) - most} more; differences.json has all")
    if len(found.others) == MOST_CANDIDATES - 1:
        lines.append(f"  (the best {MOST_CANDIDATES} by {found.chosen_by} are compared)")
    if any(one.p is not None for one in found.others):
        lines.append("  (of these networks; whether their settings differ takes several seeds: -m seed=0,1,2,3,4)")
    return lines


def _sentence(one: Difference, found: Differences) -> str:
    if one.change is None or one.low is None or one.high is None:
        return f"not compared: {one.reason}"
    factor, unit = (1, "in mean error") if found.is_number else (100, "points")
    change, low, high = (f"{factor * value + 0.0:+.2f}" for value in (one.change, one.low, one.high))
    several = ", over images and runs" if max(one.runs, found.best.runs) > 1 else ""
    line = f"{change} {unit} (95 % {low} to {high}{several})"
    if one.p is None:
        return line
    tests = sum(other.p is not None for other in found.others)
    p = f"McNemar p = {one.p:.2g}" + (f", {one.p_holm:.2g} by Holm for {tests} tests" if tests > 1 else "")
    return f"right on {one.gained:,} that the best misses, wrong on {one.lost:,} that it has right: {p}; {line}"
