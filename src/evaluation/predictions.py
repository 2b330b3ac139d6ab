"""What a network answered for each image of a split: predictions.csv, written by tests and read to compare runs.

No torch here, so that runs are compared at once.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from src.files import read_rows, write_text

if TYPE_CHECKING:
    from torch import Tensor

    from src.data.batches import BatchDataset
    from src.data.info import DataInfo

PREDICTIONS = "predictions.csv"
FOLD_FILE = "predictions.npz"  # of a run of a cross-validation: its network's logits for its own fold
OUT_OF_FOLD = "out_of_fold"  # .npz and .csv: those of all folds
NAMES = ("file", "index")  # of an image: the first column


@dataclass(frozen=True)
class Predictions:
    """The rows of predictions.csv, ordered by image.

    images: file or index -> truth. errors: (N,), 1 for a wrong class and 0 for the right one; of a regression target
    how far the estimate is off, in its unit.
    """

    images: dict[str, str]
    errors: np.ndarray
    is_number: bool


def write_predictions(
    path: Path,
    batches: "BatchDataset",
    logits: "Tensor",
    labels: "Tensor",
    info: "DataInfo",
    temperature: float | None = None,
) -> None:
    """Write a row per image: file (or index, its row in the data set's file), truth, answer, probability; atomically.

    logits, labels: as `src.evaluation.evaluate.predict` returns them for `batches`. probability: of the answer,
    calibrated by the temperature. A regression target has truth and estimate, in its unit, instead.
    """
    names = batches.names
    head = "index" if names is None else "file"
    images = batches.indices.tolist() if names is None else names
    if info.output.is_number:
        estimates, truths = info.output.metric_inputs(logits, labels)
        columns = ["truth", "estimate"]
        values = [[f"{value:.6g}" for value in numbers.tolist()] for numbers in (truths, estimates)]
    else:
        probabilities, answers = info.output.predictions(logits, temperature).max(1)
        columns = ["truth", "answer", "probability"]
        truth, answer = ([info.class_names[label] for label in rows.tolist()] for rows in (labels, answers))
        values = [truth, answer, [f"{value:.6f}" for value in probabilities.tolist()]]
    _write_rows(path, [head, *columns], images, *values)


def write_fold_predictions(path: Path, arrays: Mapping[str, np.ndarray], class_names: Sequence[str]) -> None:
    """Write a row per image of a cross-validation: file or index, truth, answer, probability, fold, run.

    arrays: index, labels, fold, run (N,), logits (N, K), perhaps files (N,), as `src.sweep.report.join_folds` has them.
    probability: not calibrated, as a fold's own images set its temperature.
    """
    logits = arrays["logits"].astype(np.float64)
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    head, images = ("file", arrays["files"]) if "files" in arrays else ("index", arrays["index"])
    truth, answer = ([class_names[label] for label in rows] for rows in (arrays["labels"], logits.argmax(1)))
    rates = [f"{value:.6f}" for value in probabilities.max(1)]
    values: list[Iterable] = [truth, answer, rates, arrays["fold"], arrays["run"]]
    _write_rows(path, [head, "truth", "answer", "probability", "fold", "run"], images, *values)


def _write_rows(path: Path, head: Sequence[str], *columns: Iterable) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(zip(*columns, strict=True))
    write_text(path, text.getvalue())


def load_predictions(path: Path) -> Predictions:
    """The predictions of a run. Raises OSError if there is no such file, ValueError if it holds something else."""
    rows = read_rows(path)
    if not rows:
        raise ValueError("it has no rows")
    columns = list(rows[0])
    named = columns[0] in NAMES
    if not named or columns[1:] not in (["truth", "answer", "probability"], ["truth", "estimate"]):
        raise ValueError(f"its columns are {', '.join(columns)}")
    rows.sort(key=lambda row: row[columns[0]])
    images = {row[columns[0]]: row["truth"] for row in rows}
    if len(images) < len(rows):
        raise ValueError("an image is in it twice")
    is_number = columns[2] == "estimate"
    if is_number:
        errors = [abs(float(row["estimate"]) - float(row["truth"])) for row in rows]
        if not all(map(math.isfinite, errors)):
            raise ValueError("an estimate is no finite number")
    else:
        errors = [float(row["answer"] != row["truth"]) for row in rows]
    return Predictions(images, np.array(errors), is_number)
