"""The files beside the tables of many runs: figures, the best experiment, out-of-fold predictions."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from src.cli.config import CONF
from src.files import display_path, write_bytes
from src.sweep.run_records import EXECUTION_KEYS, REPETITION_KEYS, Run
from src.sweep.study import SearchSummary
from src.sweep.table import Comparison, format_metric

PREDICTIONS = "predictions.npz"


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
        lines.append(f"  folds     {display_path(path)}: each image predicted by a network not trained on it")
    return lines


def write_best_experiment(comparison: Comparison, folder: Path) -> Path | None:
    """Write the best configuration as <folder>/best/experiment/best.yaml, for --config-dir and experiment=best.

    It selects the same options and sets every value that differs from theirs. None if the run's config cannot be read,
    or an option no longer exists.
    """
    best = comparison.best
    run = next(run for run in best.runs if run.state == "finished")
    if not run.config or not run.choices:
        return None
    groups = {group: _format_option(option) for group, option in run.choices.items() if _is_selected(group, option)}
    composed = _compose(groups)
    if composed is None:
        return None
    changed = _changed_values(run.config, composed)
    score = format_metric(best.mean, comparison.metric, best.sd)
    defaults = "".join(f"  - override /{group}: {option}\n" for group, option in groups.items())
    text = (
        f"# @package _global_\n# python -m src.train --config-dir {display_path(folder / 'best')} experiment=best\n"
        f"# The best of {len(comparison.configurations)} configurations by {comparison.metric}: {score}, "
        f"{len(best.scores)} run{'s' if len(best.scores) > 1 else ''}.\n"
        f"defaults:\n{defaults}" + (f"\n{OmegaConf.to_yaml(changed)}" if changed else "")
    )
    path = folder / "best" / "experiment" / "best.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, text.encode())
    return path


def _is_selected(group: str, option: object) -> bool:
    return not group.startswith("hydra") and group not in ("experiment", "hparams_search") and option is not None


def _format_option(option: object) -> str:
    """An option, or a list of options, as in an override."""
    several = OmegaConf.is_list(option) or isinstance(option, list)
    return f"[{', '.join(map(str, option))}]" if several else str(option)


def _compose(groups: dict[str, str]) -> DictConfig | None:
    """The config of these options alone; None if one no longer exists."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("train", [f"{group}={option}" for group, option in groups.items()])
    except HydraException:
        return None
    finally:
        GlobalHydra.instance().clear()
        if running is not None:
            GlobalHydra.instance().initialize(running)


def _changed_values(config: DictConfig, composed: DictConfig) -> DictConfig:
    """The values of `config` that `composed` does not have, without those of execution and repetition."""
    left_out = (*EXECUTION_KEYS, "sweep", *REPETITION_KEYS)
    changed, base = OmegaConf.create(), _flatten(composed)
    for key, value in _flatten(config).items():
        if base.get(key, ...) != value and not key.startswith(left_out):
            OmegaConf.update(changed, key, value)
    return changed


def _flatten(config: DictConfig) -> dict[str, object]:
    """Every value under its full key, interpolations unresolved."""
    flat: dict[str, object] = {}

    def walk(node: object, prefix: str) -> None:
        if isinstance(node, dict) and node:
            for key, value in node.items():
                walk(value, f"{prefix}.{key}" if prefix else str(key))
        else:
            flat[prefix] = node

    walk(OmegaConf.to_container(config, resolve=False), "")
    return flat


def join_folds(runs: Sequence[Run], folder: Path) -> Path | None:
    """Write the predictions of every cross-validation that has all its folds to <folder>/out_of_fold.npz.

    Rows are ordered by cross-validation, then image. index: int64 (N,), row of the image in the training file; labels:
    int64 (N,); logits: float32 (N, K); fold: int64 (N,); group: int64 (N,), number of the cross-validation; run: name
    of the run. None if no cross-validation is complete.
    """
    import numpy as np

    complete = _complete_folds(runs)
    if not complete:
        return None
    columns: dict[str, list] = {}
    for group, folds in enumerate(complete):
        for fold, run in sorted(folds.items()):
            with np.load(run.folder / PREDICTIONS) as file:
                arrays = {key: file[key] for key in file.files}
            for key, value in (("fold", fold), ("group", group), ("run", run.name)):
                arrays[key] = np.full(len(arrays["index"]), value)
            for key, array in arrays.items():
                columns.setdefault(key, []).append(array)
    joined = {key: np.concatenate(arrays) for key, arrays in columns.items()}
    order = np.lexsort((joined["index"], joined["group"]))
    path = folder / "out_of_fold.npz"
    np.savez_compressed(path, **{key: array[order] for key, array in joined.items()})
    return path


def _complete_folds(runs: Sequence[Run]) -> list[dict[int, Run]]:
    """Finished runs that differ only by fold, as fold -> run, where all data.folds of them are there."""
    groups: dict[tuple, dict[int, Run]] = {}
    for run in runs:
        fold = run.value("data.fold")
        if fold not in (None, "null", "None") and run.state == "finished" and (run.folder / PREDICTIONS).is_file():
            others = tuple(sorted((key, value) for key, value in run.overrides.items() if key != "data.fold"))
            groups.setdefault(others, {})[int(fold)] = run
    return [folds for folds in groups.values() if len(folds) == int(next(iter(folds.values())).value("data.folds"))]
