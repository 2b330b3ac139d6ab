"""The files beside the tables of many runs: figures, the best experiment, out-of-fold predictions."""

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from src.cli.config import CONF, load_config
from src.errors import InputError
from src.files import display_path, write_text
from src.sweep.comparison import Comparison
from src.sweep.run_records import EXECUTION_KEYS, REPETITION_KEYS, Run
from src.sweep.study import SearchSummary
from src.sweep.table import format_metric

log = logging.getLogger(__name__)


def write_sweep_report(
    comparison: Comparison, folder: Path, search: SearchSummary | None = None, figures: bool = True
) -> list[str]:
    """Write what the runs allow into `folder`; a line per result, which says where it is."""
    lines = [f"  table     {display_path(folder)}/table.md"]
    if figures:
        from src.sweep.figures import write_sweep_figures

        if write_sweep_figures(comparison, folder / "figures", search):
            lines.append(f"  figures   {display_path(folder)}/figures")
    if comparison.best is not None and (path := write_best_experiment(comparison, folder)) is not None:
        config_dir = shlex.quote(display_path(path.parents[1]))
        lines.append(f"  best      python -m src.train --config-dir {config_dir} experiment={path.stem}")
    if (path := join_folds(comparison.runs, folder)) is not None:
        lines.append(f"  folds     {display_path(path)} and .csv: each image predicted by a network not trained on it")
    return lines


def write_best_experiment(comparison: Comparison, folder: Path) -> Path | None:
    """Write the best configuration as <folder>/best/experiment/best.yaml, for --config-dir and experiment=best.

    It selects the same options and sets every value that differs from theirs; those of the user's own option files are
    written out. None if the run's config cannot be read, or is of src.evaluate.
    """
    best = comparison.best
    run = next(run for run in best.runs if run.state == "finished")
    if not run.config or not run.choices or run.command != "train":
        return None
    groups = {
        group: f"[{', '.join(map(str, option))}]" if OmegaConf.is_list(option) else str(option)
        for group, option in run.choices.items()
        if option is not None and not group.startswith("hydra") and group not in ("experiment", "hparams_search")
    }
    groups = {
        group: option
        for group, option in groups.items()
        if option[:1] == "[" or (CONF / group / f"{option}.yaml").is_file()
    }
    try:
        composed = load_config([f"{group}={option}" for group, option in groups.items()])
    except InputError:
        return None
    changed = _changed_values(*(OmegaConf.to_container(config, resolve=False) for config in (run.config, composed)))
    score = format_metric(best.mean, comparison.metric, best.sd)
    defaults = "".join(f"  - override /{group}: {option}\n" for group, option in groups.items())
    text = (
        f"# @package _global_\n# python -m src.train --config-dir {display_path(folder / 'best')} experiment=best\n"
        f"# The best of {len(comparison.configurations)} configurations by {comparison.metric}: {score}, "
        f"{len(best.scores)} run{'s' if len(best.scores) > 1 else ''}.\n"
        f"defaults:\n{defaults}" + (f"\n{OmegaConf.to_yaml(OmegaConf.create(changed))}" if changed else "")
    )
    path = folder / "best" / "experiment" / "best.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    return path


def _changed_values(config: dict, composed: dict, prefix: str = "") -> dict:
    """The values of `config` that `composed` does not have, without those of execution and repetition."""
    changed = {}
    for name, value in config.items():
        key, composed_value = f"{prefix}{name}", composed.get(name, ...)
        if isinstance(value, dict) and value:
            inner = _changed_values(value, composed_value if isinstance(composed_value, dict) else {}, f"{key}.")
            changed |= {name: inner} if inner else {}
        elif value != composed_value and not key.startswith((*EXECUTION_KEYS, *REPETITION_KEYS)):
            changed[name] = value
    return changed


def join_folds(runs: Sequence[Run], folder: Path) -> Path | None:
    """Write the predictions of every cross-validation that has all its folds to <folder>/out_of_fold.npz and .csv.

    Rows are ordered by cross-validation, then image. index: int64 (N,), row of the image in the training file; labels:
    int64 (N,); logits: float32 (N, K); fold: int64 (N,); group: int64 (N,), number of the cross-validation; run: name
    of the run; files: of the images, relative to data.root, where the data are pictures of files. The CSV has the
    classes by name. Cross-validations of other classes than the first are left out, with a line. None if none is
    complete.
    """
    import numpy as np

    from src.evaluation.predictions import OUT_OF_FOLD, write_fold_predictions

    complete = _complete_folds(runs)
    if not complete:
        return None
    read = [_read_folds(folds) for folds in complete]
    class_names = read[0][1]
    predictions = [arrays for arrays, names in read if names == class_names]
    keys = [key for key in predictions[0] if all(key in arrays for arrays in predictions)]
    joined = {key: np.concatenate([arrays[key] for arrays in predictions]) for key in keys}
    joined["group"] = np.repeat(np.arange(len(predictions)), [len(arrays["index"]) for arrays in predictions])
    order = np.lexsort((joined["index"], joined["group"]))
    joined = {key: array[order] for key, array in joined.items()}
    path = folder / f"{OUT_OF_FOLD}.npz"
    np.savez_compressed(path, **joined)
    write_fold_predictions(path.with_suffix(".csv"), joined, class_names)
    if others := len(read) - len(predictions):
        log.warning("%s: cross-validations of other classes are left out: %d", path.name, others)
    return path


def _read_folds(folds: dict[int, Run]) -> tuple[dict, list[str]]:
    """The predictions of all folds, and the names of the classes; their numbers where runs have not written names."""
    import numpy as np

    from src.evaluation.predictions import FOLD_FILE

    predictions: list[dict] = []
    for fold, run in sorted(folds.items()):
        with np.load(run.folder / FOLD_FILE) as file:
            arrays = dict(file)
        count = len(arrays["index"])
        class_names = arrays.pop("class_names", np.arange(arrays["logits"].shape[1])).astype(str).tolist()
        predictions.append(arrays | {"fold": np.full(count, fold), "run": np.full(count, run.name)})
    keys = [key for key in predictions[0] if all(key in arrays for arrays in predictions)]
    return {key: np.concatenate([arrays[key] for arrays in predictions]) for key in keys}, class_names


def _complete_folds(runs: Sequence[Run]) -> list[dict[int, Run]]:
    """Finished runs that differ only by fold, as fold -> run, where all data.folds of them are there."""
    from src.evaluation.predictions import FOLD_FILE  # numpy

    groups: dict[tuple, dict[int, Run]] = {}
    for run in runs:
        fold = run.value("data.fold") if "data.fold" in run.overrides else None
        if fold not in (None, "null", "None") and run.state == "finished" and (run.folder / FOLD_FILE).is_file():
            others = tuple(sorted((key, value) for key, value in run.overrides.items() if key != "data.fold"))
            groups.setdefault(others, {})[int(fold)] = run
    return [folds for folds in groups.values() if len(folds) == int(next(iter(folds.values())).value("data.folds"))]
