"""Parts of the user's own, tried before training: each that cannot be used ends in one line before the first epoch."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback
from torch import Tensor, nn

from src.cli.config import instantiate
from src.cli.targets import accepted_arguments
from src.data.info import DataInfo
from src.errors import InputError, printable, require
from src.model_files.build import build_network
from src.model_files.extra_metrics import declare_directions
from src.model_files.renamed import PACKAGE
from src.model_files.trust import find_object, is_trusted, trust_advice
from src.training.optimizers import check_optimizer
from src.training.schedules import adapt_schedule

OURS = "src.models."
CONTRACT = "a network is an nn.Module whose __init__ takes shape, (C, H, W), and num_classes"


def build_optimization(cfg: Any, config: dict) -> tuple[Callable, Callable]:
    """The partials of the optimizer and the scheduler; everything about classes that needs no data is checked.

    cfg: the composed config; config: as plain values.
    """
    if not cfg.init_from and config["model"].get("_target_"):
        check_network_class(config["model"]["_target_"])
    declare_directions(config["metrics"])
    optimizer = instantiate(cfg.optimizer, "optimizer", _partial_=True)
    scheduler = adapt_schedule(instantiate(cfg.scheduler, "scheduler", _partial_=True))
    check_optimizer(optimizer, scheduler)
    return optimizer, scheduler


def build_callback(name: str, node: Any) -> Callback:
    """The callback of a node of the config."""
    made = instantiate(node, f"callbacks.{name}")
    kind = type(made).__name__
    require(isinstance(made, Callback), f"callbacks.{name}: {kind} is no lightning.pytorch.Callback")
    return made


def build_loss(node: Any, info: DataInfo, class_counts: Tensor, mixed: bool) -> nn.Module:
    """The loss of the config's node, tried as `try_loss` says."""
    loss = instantiate(node, "loss", **loss_arguments(node.get("_target_"), class_counts=class_counts))
    try_loss(loss, info, mixed)
    return loss


def check_network_class(target: str) -> None:
    """Raise InputError for a class of a network that a checkpoint could not be rebuilt with; reads no data."""
    if target.startswith(OURS):
        return
    key = f"model._target_={printable(target, 200)}"
    found = find_object(target, key)
    if target.startswith("torchvision.models."):
        name = target.rpartition(".")[2].lower()
        raise InputError(f"{key}: {CONTRACT}; torchvision's are given by model=pretrained model.name={name}")
    is_network = isinstance(found, type) and issubclass(found, nn.Module)
    require(is_network, f"{key} is {'another class' if isinstance(found, type) else 'no class'}: {CONTRACT}")
    names, any_other = accepted_arguments(found)
    missing = [name for name in ("shape", "num_classes") if name not in names and not any_other]
    require(not missing, f"{key} does not take {' and '.join(missing)}: {CONTRACT}")
    advice = trust_advice(target) or "a network of your own stands in a package of your own"
    require(is_trusted(target), f"{key}: its checkpoint names a class that is not part of this project; {advice}")


def try_network(model: nn.Module, config: dict, info: DataInfo) -> None:
    """Raise InputError for a network that gives no logits (2, K) for two images, or that its config does not rebuild.

    config: of the checkpoint. The network and the random state stay as they are.
    """
    target = str(config["model"]["_target_"])
    if target.startswith(OURS):
        return
    name = target.rpartition(".")[2]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        images = torch.randn(2, *info.shape)
        try:
            trial = copy.deepcopy(model)
        except Exception as error:
            cause = printable(f"{type(error).__name__}: {error}", 160).partition(". ")[0]
            raise InputError(
                f"model: {name} cannot be copied ({cause}): keep no locks, files or results of a forward pass in it; "
                "weight_norm is in torch.nn.utils.parametrizations"
            ) from None
        for training in (False, True):
            _check_logits(name, trial.train(training), images, info)
        other = build_network(config, info, f"model={name}")
    ours, theirs = ({key: tuple(value.shape) for key, value in net.state_dict().items()} for net in (model, other))
    differing = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    require(not differing, f"model: {name} has other weights each time it is built ({', '.join(differing[:3])})")


def _check_logits(name: str, model: nn.Module, images: Tensor, info: DataInfo) -> None:
    shape = "x".join(map(str, info.shape))
    try:
        with torch.no_grad():
            logits = model(images)
    except Exception as error:
        cause = printable(f"{type(error).__name__}: {error}", 300)
        raise InputError(f"model: {name} fails on images of {shape} ({cause})") from None
    mode = "training" if model.training else "evaluation"
    wanted = f"a tensor of logits (B, {info.num_classes}), one per class" if not info.target else "a tensor (B, 1)"
    kind = type(logits).__name__
    require(isinstance(logits, Tensor), f"model: {name} returns a {kind} in {mode}: it has to return {wanted}")
    given = "x".join(map(str, logits.shape))
    good = tuple(logits.shape) == (2, info.num_classes) and logits.is_floating_point()
    require(good, f"model: {name} returns {given} {logits.dtype} for 2 images of {shape}: it has to return {wanted}")


def loss_arguments(target: str | None, **facts: Any) -> dict[str, Any]:
    """Those facts of the data that a loss takes."""
    if not target:
        return {}
    names, any_other = accepted_arguments(find_object(target, f"loss._target_={printable(target, 200)}"))
    return {name: value for name, value in facts.items() if name in names or (any_other and target.startswith("src."))}


def try_loss(loss: Callable[..., Tensor], info: DataInfo, mixed: bool) -> None:
    """Raise InputError for a loss that is not one finite number with a gradient, or has weights that nothing trains.

    mixed: whether targets are probabilities (B, K), as mixup makes them.
    """
    name = type(loss).__name__
    if type(loss).__module__.startswith(f"{PACKAGE}.") or getattr(loss, "wants_images", False):
        return
    require(callable(loss), f"loss: {name} cannot be called: a loss takes logits (B, K) and labels (B,)")
    weights = any(p.requires_grad for p in loss.parameters()) if isinstance(loss, nn.Module) else False
    require(not weights, f"loss: {name} has weights of its own, and the optimizer trains the network's only")
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, info.num_classes, generator=generator).requires_grad_()
    labels = torch.arange(4) % info.num_classes
    targets = nn.functional.one_hot(labels, info.num_classes).float() if mixed else labels
    kind = "probabilities of the same shape (mixup)" if mixed else "labels (B,)"
    what = f"logits (B, {info.num_classes}) and {kind}"
    try:
        value = loss(logits, targets)
        single = isinstance(value, Tensor) and value.ndim == 0
        if single:
            value.backward()
    except Exception as error:
        raise InputError(f"loss: {name} fails on {what}: {printable(error, 200)}") from None
    require(single, f"loss: {name} returns no single number for {what}: average it over the batch")
    value = value.detach()
    good = logits.grad is not None and bool(value.isfinite())
    require(good, f"loss: {name} is {float(value):g} for {what}, or has no gradient")
