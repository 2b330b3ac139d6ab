"""results.json of a training or an evaluation, checked as it is read."""

from pathlib import Path
from typing import Any

from src.errors import is_integer, is_number
from src.files import read_json

NO_NUMBERS = ("target", "acc_ci95", "per_class", "confusion")  # of the entries of a split in results.json
SPLITS = ("train", "val", "test")
EVALUATED = ("ckpt", "sha256", "epoch", "data", "split")  # of the results of src.evaluate, beside metrics


def read_results(folder: Path, command: str) -> dict[str, Any]:
    """The results of a training, or those of src.evaluate as a training has them: ckpt, and metrics below their split.

    All pictures of a folder are a test. Raises ValueError for a file that is missing, damaged or of something else.
    """
    try:
        results = read_json(folder / "results.json")
        if command == "evaluate":
            about = {key: str(results.pop(key)) for key in EVALUATED}
            results = {"ckpt": about["ckpt"], "test" if about["split"] == "all" else about["split"]: results}
    except KeyError as error:
        raise ValueError(f"results.json: there is no {error}") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"results.json: {error}") from None
    monitor, epoch = results.get("monitor"), results.get("best_epoch")
    splits = all(isinstance(results.get(split, {}), dict) for split in SPLITS)
    if not (splits and isinstance(monitor, str | None) and (epoch is None or is_integer(epoch))):
        raise ValueError("results.json: its train, val, test, monitor or best_epoch cannot be")
    continual = results.get("continual", {})
    if not isinstance(continual, dict) or not all(_is_matrix(continual.get(split)) for split in ("val", "test")):
        raise ValueError("results.json: its continual cannot be")
    for split in SPLITS:
        for name, value in results.get(split, {}).items():
            if name not in NO_NUMBERS and isinstance(value, str | bool | list | dict):
                raise ValueError(f"results.json: {split}/{name} is no number")
    return results


def _is_matrix(measured: Any) -> bool:
    """Whether a split of continual learning was not measured, or has a matrix of accuracies."""
    if measured is None:
        return True
    matrix = measured.get("matrix") if isinstance(measured, dict) else None
    if not isinstance(matrix, list) or not all(isinstance(row, list) and len(row) == len(matrix[0]) for row in matrix):
        return False
    return all(value is None or is_number(value) for row in matrix for value in row)
