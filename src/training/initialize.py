"""The network that training starts from, new or from a trained one, and the method that fine-tunes it."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from src.errors import InputError, choice, require, text
from src.model_files.locate import EXPORTED, find_checkpoint

if TYPE_CHECKING:  # torch: not before a job runs
    from torch import nn

    from src.data.info import DataInfo
    from src.finetune.method import Method
    from src.inference.model import InferenceModel

log = logging.getLogger(__name__)
HEADS, CHECKPOINTS = ("auto", "keep", "reset"), ("full", "adapter")


@dataclass
class InitialModel:
    """A network before its first training step.

    model: adapted by the method. info: the data's, with the source model's normalization. method: None trains every
    weight. source: the network that fine-tuning starts from, None for training from scratch. fresh_head: whether the
    head is untrained. config: the entries about the network in a checkpoint's config.
    """

    model: nn.Module
    info: DataInfo
    method: Method | None = None
    source: InferenceModel | None = None
    fresh_head: bool = True
    config: dict = field(default_factory=dict)


def check_options(config: dict) -> None:
    """Raise InputError for values of init_from, head and checkpoint that cannot be used."""
    choice("head", config["head"], HEADS)
    choice("checkpoint", config["checkpoint"], CHECKPOINTS)
    text("init_from", config["init_from"], "one run or file", optional=True)
    require(config["init_from"] or config["head"] == "auto", f"head={config['head']} needs a source: give init_from")


def load_source(init_from: str, outputs: Path) -> InferenceModel:
    """The network that fine-tuning starts from. Raises InputError for a file that has no weights to train."""
    from src.model_files.load import load_predictor, require_weights

    path = find_checkpoint(init_from, outputs, key="init_from")
    return require_weights(load_predictor(path), f"init_from={init_from}")


def copy_source(config: dict, source: InferenceModel, info: DataInfo, overrides: Sequence[str] = ()) -> InitialModel:
    """A copy of the network of init_from, with its normalization, knobs and, where the classes agree, its head.

    The head stays where class names are equal (head=auto) or as many (head=keep); head=reset starts a new one.
    config: of the training, plain values. overrides: the command, to refuse other knobs of the model typed in it.
    Raises InputError for a source that does not fit the data.
    """
    from src.models.structure import reset_head

    info, fresh = match_data_info(source, info, config["head"])
    _refuse_model_overrides(source.config["model"], config["model"], overrides)
    source.views = config["views"]  # it is measured with as many views as the tuned network
    model = copy.deepcopy(source.model)  # the source itself is measured later
    if fresh:
        reset_head(model, info.num_classes)
    log.info(
        "init_from: %s, weights of epoch %d; head %s, %d classes; normalization kept",
        config["init_from"], source.epoch, "replaced" if fresh else "kept", info.num_classes,
    )  # fmt: skip
    loaded, ignored = (name["_target_"].rpartition(".")[2] for name in (source.config["model"], config["model"]))
    if loaded != ignored:
        log.info("the network is the source's, %s; model=%s is ignored", loaded, ignored)
    stored = {"start": source.digest, "model": source.config["model"], "structure": source.config.get("structure", [])}
    return InitialModel(model, info, None, source, fresh, {**config, **stored})


def apply_method(initial: InitialModel, method: Method | None, options: dict) -> InitialModel:
    """The initial model as `method` changes it: layers added, weights frozen; it is recorded in the config.

    options: the method as conf describes it. Raises InputError for a method without a trained network, or one that
    trains nothing.
    """
    config = initial.config
    if method is not None:
        from src.models.structure import find_head

        require(
            initial.source is not None or config["model"].get("weights") is not None,
            "finetune starts from a trained network: give init_from=<run, file.ckpt or newest>, or "
            "model=pretrained model.weights=DEFAULT; finetune=none trains from scratch",
        )
        find_head(initial.model)
        model = method.adapt(initial.model, initial.info.shape, initial.fresh_head)
        trainable = method.all_trainable_parameters(model)
        require(bool(trainable), "this method leaves nothing to train")
        config = {**config, "model": method.adapt_config(config["model"])}
        if method.adds_modules:
            config = {**config, "structure": [*config.get("structure", []), options]}
        total, count = (sum(p.numel() for p in parameters) for parameters in (model.parameters(), trainable))
        log.info("finetune: %s, %s of %s parameters train", type(method).__name__, f"{count:,}", f"{total:,}")
        initial = replace(initial, model=model, method=method)
    if config["checkpoint"] == "adapter":
        _check_adapter_checkpoint(initial)
    fresh_source_head = initial.fresh_head and initial.source is not None
    return replace(initial, config={**config, "fresh_head": fresh_source_head})


def match_data_info(source: InferenceModel, info: DataInfo, head: str) -> tuple[DataInfo, bool]:
    """The data's info with the source's normalization, and whether the source's head is replaced.

    Raises InputError for images of another shape, or head=keep with another number of classes.
    """
    if info.shape != source.info.shape:
        ours, theirs = ("x".join(map(str, shape)) for shape in (info.shape, source.info.shape))
        raise InputError(
            f"init_from reads images of {theirs} (channels, height, width), the data have {ours}: "
            "with data=folder leave data.size and data.channels out"
        )
    same = info.class_names == source.info.class_names
    if head == "keep" and info.num_classes != source.info.num_classes:
        raise InputError(
            f"head=keep: the source knows {source.info.num_classes} classes, the data have {info.num_classes}: "
            "give head=reset or head=auto"
        )
    fresh = head == "reset" or (head == "auto" and not same)
    return replace(info, mean=source.info.mean, std=source.info.std), fresh


def _refuse_model_overrides(loaded: dict, requested: dict, overrides: Sequence[str]) -> None:
    words = [word for word in overrides if word.lstrip("+").startswith("model")]
    known = [key for key in requested if key in loaded]  # the source may be older than a knob
    differing = [key for key in known if not key.startswith("_convert") and requested[key] != loaded[key]]
    if words and differing:
        raise InputError(
            f"init_from brings its own network ({loaded['_target_'].rpartition('.')[2]}): leave {' '.join(words)} out"
        )


def _check_adapter_checkpoint(initial: InitialModel) -> None:
    source, method = initial.source, initial.method
    if source is None or method is None:
        raise InputError(
            "checkpoint=adapter saves the changes of a source model: give init_from and a method, such as finetune=lora"
        )
    require(not method.resizes_layers, "checkpoint=adapter: this method makes another network: leave checkpoint out")
    require(source.complete, "checkpoint=adapter: init_from is itself an adapter; fine-tune it with checkpoint=full")
    exported = Path(source.file).suffix in EXPORTED
    require(not exported, "checkpoint=adapter: init_from is an exported file; give the run it came from")
