"""What a fine-tuning starts from: a trained network, and what of it is kept on other data."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from src.cli.config import ROOT, build, to_plain
from src.errors import InputError, require
from src.model_files.locate import EXPORTED, find_checkpoint

if TYPE_CHECKING:  # torch: not before a job runs
    from torch import nn

    from src.data.info import DataInfo
    from src.finetune.method import Method
    from src.inference.model import InferenceModel

log = logging.getLogger(__name__)
HEADS = ("auto", "keep", "reset")


@dataclass
class InitialModel:
    """Where training begins.

    model: adapted by the method; info: the data's, with the start's normalisation; fresh_head: whether the head is
    untrained; net: the start itself, None for none; config: what goes into the checkpoint about it.
    """

    model: nn.Module
    info: DataInfo
    method: Method | None
    net: InferenceModel | None
    fresh_head: bool
    config: dict


def initialize(cfg: DictConfig, config: dict, info: DataInfo) -> InitialModel:
    """The network that is trained, fresh or from init_from, and the method that adapts it.

    Its network, its knobs and its normalisation come from the start; classes and their names from the data. The head
    is kept where the classes are the same (head=auto), or as many (head=keep); head=reset starts a new one.
    Raises InputError for a start that does not fit the data, or a method without a start.
    """
    from src.models.structure import head_of, reset_head

    method = build(cfg.finetune if cfg.finetune._target_ else None, "finetune")
    require(cfg.head in HEADS, f"head={cfg.head}: one of {', '.join(HEADS)}")
    require(cfg.checkpoint in ("full", "adapter"), f"checkpoint={cfg.checkpoint}: full or adapter")
    net, fresh = None, True
    require(cfg.init_from is None or isinstance(cfg.init_from, str), f"init_from={cfg.init_from}: one run or file")
    require(cfg.init_from or cfg.head == "auto", f"head={cfg.head} is about the head of a start: give init_from")
    if cfg.init_from:
        from src.model_files.load import load_net, need_weights

        net = load_net(find_checkpoint(cfg.init_from, ROOT / "outputs", key="init_from"))
        need_weights(net, f"init_from={cfg.init_from}")
        info, fresh = match_data_info(net, info, cfg.head)
        _refuse_another_model(net.config["model"], config["model"])
        net.views = cfg.views  # measured as what comes of it will be
        model = copy.deepcopy(net.model)  # the start is still to be measured
        if fresh:
            reset_head(model, info.num_classes)
        kept = "head replaced: " if fresh else "head kept: "
        log.info(
            "start: %s, weights of epoch %d; %s%d classes; its normalisation kept",
            cfg.init_from, net.epoch, kept, info.num_classes,
        )  # fmt: skip
        brought, left_out = (name["_target_"].rpartition(".")[2] for name in (net.config["model"], config["model"]))
        if brought != left_out:
            log.info("the network is the start's, %s; %s of the config is left out", brought, left_out)
        config = {
            **config,
            "start": net.digest,
            "model": net.config["model"],
            "structure": net.config.get("structure", []),
        }
    else:
        model = build(cfg.model, "model", shape=info.shape, num_classes=info.num_classes)
        trained = cfg.model.get("weights") is not None
        if method is not None and not trained:
            raise InputError(
                "finetune starts from a trained network: give init_from=<run, file.ckpt or newest>, or "
                "model=pretrained model.weights=DEFAULT; finetune=none trains from scratch"
            )
    if method is not None:
        head_of(model)
        model = method.adapt(model, info.shape, fresh)
        trainable = method.ever(model)
        require(bool(trainable), "this method leaves nothing to train")
        config = {**config, "model": method.model_options(config["model"])}
        if method.adds:
            config = {**config, "structure": [*config.get("structure", []), to_plain(cfg.finetune)]}
        total = sum(p.numel() for p in model.parameters())
        count = sum(p.numel() for p in trainable)
        log.info("finetune: %s, %s of %s parameters train", type(method).__name__, f"{count:,}", f"{total:,}")
    if cfg.checkpoint == "adapter":
        require(
            net is not None and method is not None,
            "checkpoint=adapter saves the changes of a start: give init_from and a method, finetune=lora for one",
        )
        require(not method.reshapes, "checkpoint=adapter: this method makes another network: leave checkpoint out")
        require(net.own, "checkpoint=adapter: the start is itself a file of changes; fine-tune it with checkpoint=full")
        exported = Path(net.file).suffix in EXPORTED
        require(not exported, "checkpoint=adapter: the start is an exported file; give the run it came from")
    return InitialModel(model, info, method, net, fresh, {**config, "fresh_head": fresh and net is not None})


def match_data_info(net: InferenceModel, info: DataInfo, head: str) -> tuple[DataInfo, bool]:
    """The facts that the network is to go on with, and whether its head starts afresh.

    Raises InputError for images of another shape, or head=keep with another number of classes.
    """
    if info.shape != net.info.shape:
        ours, theirs = ("x".join(map(str, shape)) for shape in (info.shape, net.info.shape))
        raise InputError(
            f"init_from reads images of {theirs} (channels, height, width), the data have {ours}: "
            "with data=folder give data.size and data.channels"
        )
    same = info.class_names == net.info.class_names
    if head == "keep" and info.num_classes != net.info.num_classes:
        raise InputError(
            f"head=keep: the start knows {net.info.num_classes} classes, the data have {info.num_classes}: "
            "give head=reset or head=auto"
        )
    fresh = head == "reset" or (head == "auto" and not same)
    return replace(info, mean=net.info.mean, std=net.info.std), fresh


def _refuse_another_model(started: dict, asked: dict) -> None:
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return
    words = [word for word in HydraConfig.get().overrides.task if word.lstrip("+").startswith("model")]
    known = [key for key in asked if key in started]  # a start may be older than a knob
    differing = [key for key in known if not key.startswith("_convert") and asked[key] != started[key]]
    if words and differing:
        raise InputError(
            f"init_from brings its own network ({started['_target_'].rpartition('.')[2]}): leave {' '.join(words)} out"
        )
