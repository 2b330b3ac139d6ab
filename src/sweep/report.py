"""What many runs leave beside their table: pictures, the best one's experiment file, predictions of all folds."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from src.cli.config import CONF
from src.files import display_path, write_bytes
from src.sweep.run_records import BESIDE, REPEATS, Run
from src.sweep.table import Comparison
from src.sweep.table import format_metric as as_text

PREDICTIONS = "predictions.npz"


def write_sweep_report(comparison: Comparison, folder: Path, extras: dict, pictures: bool = True) -> list[str]:
    """Write what there is to write into `folder`. Returns lines that say what is where.

    extras: more for the pictures, as `write_pictures` takes them.
    """
    lines = [f"  table     {display_path(folder)}/table.md"]
    if pictures:
        from src.sweep.figures import write_sweep_figures

        if write_sweep_figures(comparison, folder / "figures", **extras):
            lines.append(f"  pictures  {display_path(folder)}/figures")
    best = comparison.best
    if best is not None and (path := write_experiment(comparison, folder)) is not None:
        folder_typed = shlex.quote(display_path(path.parents[1]))
        lines.append(f"  best      python -m src.train --config-dir {folder_typed} experiment={path.stem}")
    if (joined := join_folds(comparison.runs, folder)) is not None:
        lines.append(f"  folds     {display_path(joined)}: every image's prediction by a network that had not seen it")
    return lines


def write_experiment(comparison: Comparison, folder: Path) -> Path | None:
    """The best configuration as <folder>/best/experiment/best.yaml, which `--config-dir` makes an experiment.

    Its groups are chosen as they were, and every value that the groups alone would not give is written down.
    """
    best = comparison.best
    run = next(run for run in best.runs if run.state == "finished")
    config, choices = run.config, run.choices
    if not config or not choices:
        return None
    groups = {group: choice for group, choice in choices.items() if _is_choice(group, choice)}
    plain = _compose(groups)
    if plain is None:
        return None
    different = _difference(_leaves(config), _leaves(plain))
    spread = as_text(best.mean, comparison.metric, best.sd)
    body = OmegaConf.to_yaml(OmegaConf.create(_nested(different))) if different else ""
    overrides = "".join(f"  - override /{group}: {_yaml(choice)}\n" for group, choice in groups.items())
    text = (
        f"# @package _global_\n# python -m src.train --config-dir {display_path(folder / 'best')} experiment=best\n"
        f"# The best of {len(comparison.configurations)} configurations by {comparison.metric}: {spread}, "
        f"{len(best.scores)} run{'s' if len(best.scores) > 1 else ''}.\n"
        f"defaults:\n{overrides}{chr(10) if body else ''}{body}"
    )
    path = folder / "best" / "experiment" / "best.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, text.encode())
    return path


def _is_choice(group: str, choice: object) -> bool:
    return not group.startswith("hydra") and group not in ("experiment", "hparams_search") and choice is not None


def _yaml(choice: object) -> str:
    return (
        "[" + ", ".join(map(str, choice)) + "]"
        if OmegaConf.is_list(choice) or isinstance(choice, list)
        else str(choice)
    )


def _compose(groups: dict) -> DictConfig | None:
    """What the groups alone give."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("train", [f"{group}={_yaml(choice)}" for group, choice in groups.items()])
    except HydraException:  # an option that is gone by now
        return None
    finally:
        GlobalHydra.instance().clear()
        if before is not None:
            GlobalHydra.instance().initialize(before)


def _leaves(config: DictConfig) -> dict[str, object]:
    """Every value under its full key, interpolations as they are written."""
    flat: dict[str, object] = {}

    def walk(node: object, prefix: str) -> None:
        if isinstance(node, dict) and node:
            for key, value in node.items():
                walk(value, f"{prefix}.{key}" if prefix else str(key))
        else:
            flat[prefix] = node

    walk(OmegaConf.to_container(config, resolve=False), "")
    return flat


def _difference(ours: dict[str, object], theirs: dict[str, object]) -> dict[str, object]:
    left_out = (*BESIDE, "sweep", *REPEATS)
    return {key: value for key, value in ours.items() if theirs.get(key, ...) != value and not key.startswith(left_out)}


def _nested(flat: dict[str, object]) -> dict:
    tree: dict = {}
    for key, value in flat.items():
        *parents, last = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return tree


def join_folds(runs: Sequence[Run], folder: Path) -> Path | None:
    """The predictions of all folds of the best configuration, each image once: <folder>/out_of_fold.npz.

    index: int64 (N,), the image's place in the training file, rising; labels: int64 (N,); logits: float32 (N, K);
    fold: int64 (N,); run: the run's name. Nothing is written unless all folds are there.
    """
    import numpy as np

    parts: dict[tuple, dict[int, Run]] = {}
    for run in runs:
        fold = run.value("data.fold")
        if fold not in (None, "null", "None") and run.state == "finished" and (run.folder / PREDICTIONS).is_file():
            rest = tuple(sorted((key, value) for key, value in run.given.items() if key != "data.fold"))
            parts.setdefault(rest, {})[int(fold)] = run
    complete = [folds for folds in parts.values() if len(folds) == int(next(iter(folds.values())).value("data.folds"))]
    if not complete:
        return None
    columns: dict[str, list] = {}
    for place, folds in enumerate(complete):
        for fold, run in sorted(folds.items()):
            with np.load(run.folder / PREDICTIONS) as file:
                for key in file.files:
                    columns.setdefault(key, []).append(file[key])
                count = len(file["index"])
            columns.setdefault("fold", []).append(np.full(count, fold))
            columns.setdefault("group", []).append(np.full(count, place))
            columns.setdefault("run", []).append(np.full(count, run.name))
    joined = {key: np.concatenate(values) for key, values in columns.items()}
    order = np.lexsort((joined["index"], joined["group"]))
    path = folder / "out_of_fold.npz"
    np.savez_compressed(path, **{key: values[order] for key, values in joined.items()})
    return path
