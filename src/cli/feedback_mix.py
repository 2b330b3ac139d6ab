"""What data=feedback stands for: a new task of the network of init_from, after the data that it was trained on."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from src.cli.overrides import hydra_literal, override_key, override_value

RENEWAL = (("scenario", "renewal"), ("continual", "rehearsal"))
# Of the training's data options, beside data.mix: the same images validate, or they would be trained on.
KEPT = ("val", "folds", "fold", "split_seed", "batch_size", "download", "mirrors")


def add_renewal(words: Sequence[str]) -> list[str]:
    """The words of `src.train`; where they are of data=feedback without a scenario, after those by which corrections
    are a new task."""
    if override_value(words, "data") != "feedback" or override_value(words, "scenario") is not None:
        return list(words)
    return [*(f"{key}={value}" for key, value in RENEWAL if override_value(words, key) is None), *words]


def add_mix(words: Sequence[str], path: Path) -> list[str]:
    """The words of `src.train init_from=<path> data=feedback`, after those that describe its original data.

    What is typed stays; where data.mix or data.mix.name is, nothing is added. Raises InputError for a file that cannot
    be read.
    """
    typed = {override_key(word) for word in words}
    if override_value(words, "data") != "feedback" or typed & {"data.mix", "data.mix.name"}:
        return list(words)
    from src.model_files.load import load_predictor

    trained = load_predictor(path).config["data"]
    kept = {f"data.{key}": trained[key] for key in KEPT if key in trained}
    described = {f"data.mix.{key}": value for key, value in describe_mix(trained).items()}
    added = {key: value for key, value in (described | kept).items() if key not in typed}
    added = {key: value for key, value in added.items() if value is not None and value is not True}  # as in conf
    return [*(f"{key}={hydra_literal(value)}" for key, value in added.items()), *words]


def describe_mix(trained: Mapping[str, Any]) -> dict[str, Any]:
    """The data options of a training as data.mix describes them; of one with corrections, those of its own data.mix."""
    from src.data.datamodule import ImageData
    from src.data.sources.registry import MIX_KEYS

    if trained["name"] == "feedback":
        return {key: value for key, value in trained["mix"].items() if key in MIX_KEYS}
    general = {*inspect.signature(ImageData).parameters, *MIX_KEYS, *KEPT}
    options = {key: value for key, value in trained.items() if key not in general and key.isidentifier()}
    options = {key: value for key, value in options.items() if not key.startswith("_")}
    mix = {key: trained[key] for key in MIX_KEYS if key in trained}
    return {**mix, "options": options or None}
