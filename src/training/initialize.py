"""The network that training starts from, new or from a trained one, and the method that fine-tunes it."""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from src.errors import InputError, choice, require, text
from src.model_files.locate import EXPORTED, find_checkpoint

if TYPE_CHECKING:  # torch: not before a job runs
    from torch import nn

    from src.data.batches import SeededBatchSampler
    from src.data.datamodule import ImageData
    from src.data.info import DataInfo
    from src.finetune.method import Method
    from src.inference.model import InferenceModel

log = logging.getLogger(__name__)
PUBLISHED = "src.models.pretrained.Pretrained"
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
    """Fetch the network's weights; raise InputError for values of model, init_from, head and checkpoint of no use."""
    choice("head", config["head"], HEADS)
    choice("checkpoint", config["checkpoint"], CHECKPOINTS)
    text("init_from", config["init_from"], "one run or file", optional=True)
    require(config["init_from"] or config["head"] == "auto", f"head={config['head']} needs a source: give init_from")
    prepare_network(config)


def prepare_network(config: dict) -> None:
    """Check what the network's options need beyond the data, and fetch its weights, before any data are read.

    config: of the training, plain values. A source, or the checkpoint of the run that is resumed, brings its weights.
    Raises InputError for options or weights that cannot be used.
    """
    options = {key: value for key, value in config["model"].items() if not key.startswith("_")}
    brought = config["init_from"] or config["resume_from"]
    if not brought and config["model"].get("_target_") == PUBLISHED:
        from src.models.pretrained import prepare

        prepare(**options)


def new_network(model: nn.Module, info: DataInfo, config: dict) -> InitialModel:
    """A network that starts without a source; published weights bring their normalization and their size.

    config: of the training, plain values.
    """
    from src.models.pretrained import Pretrained

    if isinstance(model, Pretrained):
        if model.normalization is not None:
            info = replace(info, mean=model.normalization[0], std=model.normalization[1])
        if model.size != model.default_size:  # rebuilt from a checkpoint, which brings its weights, it takes DEFAULT's
            config = {**config, "model": {**config["model"], "size": model.size}}
    return InitialModel(model, info, config=config)


def network_options(config: dict, method: Method | None) -> dict:
    """The options of the network to build: in a run that is resumed without the weights that its checkpoint brings.

    config: of the training, plain values.
    """
    options = dict(config["model"])
    if options.get("weights") is None or not config["resume_from"] or (method is not None and method.needs_start):
        return options
    if options["_target_"] == PUBLISHED and options["size"] is None:
        from src.models.published_weights import image_side, published_weights

        options["size"] = image_side(published_weights(options["name"], options["weights"]))
    return {**options, "weights": None}


def load_source(init_from: str, outputs: Path) -> InferenceModel:
    """The network that fine-tuning starts from. Raises InputError for a file that has no weights to train."""
    from src.model_files.load import load_predictor, require_weights

    path = find_checkpoint(init_from, outputs, key="init_from")
    return require_weights(load_predictor(path), f"init_from={init_from}")


def copy_source(config: dict, source: InferenceModel, info: DataInfo, overrides: Sequence[str] = ()) -> InitialModel:
    """A copy of the network of init_from, with its normalization, knobs and, where the classes agree, its head.

    The head stays where class names are equal (head=auto) or as many (head=keep); head=reset starts a new one. Where
    data arrive in tasks, head=auto keeps the rows of the classes that the source knows.
    config: of the training, plain values. overrides: the command, to refuse other knobs of the model typed in it.
    Raises InputError for a source that does not fit the data.
    """
    from src.models.structure import grow_head, reset_head

    info, fresh = match_data_info(source, info, config["head"])
    _refuse_model_overrides(source.config["model"], config["model"], overrides)
    source.views = config["views"]  # it is measured with as many views as the tuned network
    model = copy.deepcopy(source.model)  # the source itself is measured later
    in_tasks = config["scenario"]["_target_"] is not None and config["head"] == "auto"
    known = source.info.class_names if in_tasks else ()
    rows = {info.class_names.index(name): row for row, name in enumerate(known) if name in info.class_names}
    if fresh and rows:
        grow_head(model, info.num_classes, rows)
    elif fresh:
        reset_head(model, info.num_classes)
    grown = f"grown from {len(rows)} that it knows to" if rows else "replaced,"
    log.info(
        "init_from: %s, weights of epoch %d; head %s %d classes; normalization kept",
        config["init_from"], source.epoch, grown if fresh else "kept,", info.num_classes,
    )  # fmt: skip
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
            "model=pretrained; finetune=none trains from scratch",
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


def set_normalization(initial: InitialModel, data: ImageData, checkpoint: dict) -> None:
    """Normalize the data as the network expects it. checkpoint: of the run that is resumed, or empty."""
    from src.data.info import DataInfo

    if checkpoint:  # as the run normalized from its start
        facts = DataInfo.from_dict(checkpoint["facts"])
        initial.info = replace(initial.info, mean=facts.mean, std=facts.std)
    if (initial.info.mean, initial.info.std) != (data.info.mean, data.info.std):
        data.normalize_by(initial.info.mean, initial.info.std)


def check_single_images(initial: InitialModel, data: ImageData) -> None:
    """Raise InputError if a batch has one image and a batch norm of the network sees one pixel of it.

    Tried on a copy, and only where a batch has one image.
    """
    sampler = cast("SeededBatchSampler", data.train_dataloader().sampler)
    if not sampler.has_single_image:
        return
    import torch

    model = copy.deepcopy(initial.model).train()
    if initial.method is not None:
        initial.method.set_trainable(model, sys.maxsize, 1)  # frozen norms do not train
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            model(torch.zeros(1, *initial.info.shape))
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        count = len(data.train_set)
        fix = "give data.batch_size=2 or more" if count > 1 else "give more training images"
        raise InputError(
            f"data.batch_size={data.batch_size} of {count} training image{'s' * (count != 1)}: a batch of one image "
            f"leaves this network's batch norm a single value per channel, which has no variance: {fix}"
        ) from None


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
