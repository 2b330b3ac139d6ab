"""Networks and fine-tuning methods built from what a model file says, of no other classes than it may name."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from src.data.info import DataInfo
from src.errors import InputError, printable, require
from src.finetune.method import Method
from src.inference.model import InferenceModel
from src.model_files.metadata import Metadata, attach_metadata
from src.model_files.schema import size_limit
from src.model_files.trust import find_object, is_trusted, trust_advice

T = TypeVar("T", bound=nn.Module | Method)
PACKAGES = {nn.Module: "src.models.", Method: "src.finetune."}  # classes that a file may name without trust
NOT_ARGUMENTS = ("_target_", "_convert_", "_recursive_")


def build_part(kind: type[T], options: dict, path: Path | str) -> T:
    """The object that a node of a stored config describes: `_target_` and its arguments.

    kind: nn.Module or Method. Raises InputError if the class is neither in its package nor in one that the user trusts,
    or refuses the arguments, so that a file never chooses which code runs.
    """
    arguments = {key: value for key, value in options.items() if key not in NOT_ARGUMENTS}
    target = str(options.get("_target_"))
    own = not target.startswith(PACKAGES[kind])
    if own and not is_trusted(target):
        advice = trust_advice(target) or "only networks and methods from here are built from a file"
        raise InputError(f"{path} asks for {printable(target, 200)}: {advice}")
    if "weights" in arguments:
        arguments["weights"] = None  # the checkpoint has them
    cls = find_object(target, f"{path}: {target} cannot be built")
    if not (isinstance(cls, type) and issubclass(cls, kind)):
        raise InputError(f"{path}: {target} cannot be built (it is no {kind.__name__})")
    try:
        return cast(T, cls(**arguments))
    except InputError:
        raise
    except Exception as error:
        if not own and not isinstance(error, ImportError | AttributeError | TypeError):
            raise
        reason = printable(f"{type(error).__name__}: {error}" if own else error, 300)
        raise InputError(f"{path}: {target} cannot be built ({reason})") from error


def build_source(options: dict) -> object:
    """What the loader of data=own returns, as a stored config describes it: `_target_` and its arguments.

    Raises InputError if it stands in no package that the user trusts, or fails.
    """
    target = str(options.get("_target_"))
    other = "give data=<name>"
    advice = f"{trust_advice(target)}; or {other}" if trust_advice(target) else other
    require(is_trusted(target), f"the data it was trained on come from {printable(target, 200)}: {advice}")
    loader = find_object(target, f"data.source._target_={target}")
    try:
        return loader(**{key: value for key, value in options.items() if key not in NOT_ARGUMENTS})
    except InputError:
        raise
    except Exception as error:
        reason = printable(f"{type(error).__name__}: {error}", 200)
        raise InputError(f"data.source: {target} failed ({reason}): {other}") from None


def build_network(config: dict, info: DataInfo, path: Path | str) -> nn.Module:
    """The network of a stored config, its weights random."""
    options = {**config.get("model", {}), "shape": info.shape, "num_classes": info.num_classes}
    return build_part(nn.Module, options, path)


def build_adapted(config: dict, info: DataInfo, path: Path | str) -> nn.Module:
    """The network of a stored config as all its methods adapt it, none merged."""
    model = build_network(config, info, path)
    for options in config.get("structure", []):
        model = build_part(Method, options, path).adapt(model, info.shape)
    return model


def outline(config: dict, info: DataInfo, path: Path | str, tensors: int, numbers: int) -> nn.Module:
    """`build_adapted` on the meta device, where it takes no memory.

    tensors, numbers: that the file has, as for `size_limit`, which refuses a larger network. A trusted network that
    computes values while it is built, which the meta device has none of, is built on the CPU.
    """
    own = is_trusted(str(config.get("model", {}).get("_target_")))
    try:
        with size_limit({} if own else config, tensors, numbers, path):
            return build_adapted(config, info, path)
    except InputError as error:
        if not own or error.__cause__ is None:
            raise
    with torch.random.fork_rng(devices=[]):
        return build_adapted(config, info, path)


def rebuild_model(
    metadata: Metadata, read: Callable[[dict[str, Tensor]], dict[str, Tensor]], content: bytes, path: Path | str
) -> InferenceModel:
    """The network of an exported file (content) in eval mode, with all its weights from `read`.

    read: takes the network's state dict on the meta device and returns one with values; before it returns, nothing is
    computed and no memory is taken. Raises InputError for a network that a file may not name, or weights that do not
    fit.
    """
    config, info = metadata.config, metadata.info
    try:
        expected = outline(config, info, path, len(content) // 64, len(content)).state_dict()
        weights = read(expected)
        model = build_adapted(config, info, path)
    except (RuntimeError, ValueError, OverflowError, MemoryError) as error:
        if str(error).startswith(("ckpt=", f"{path} ", f"{path}:")):  # it names the file already
            raise
        raise InputError(f"{path}: its network cannot be built ({error})") from None
    misfits = sorted(expected.keys() ^ weights.keys())
    misfits = misfits or [key for key in expected if weights[key].shape != expected[key].shape]
    misfits = misfits or [key for key in expected if weights[key].dtype != expected[key].dtype]
    if misfits:
        raise InputError(f"{path}: the weights do not fit the network (first: {misfits[0]})")
    model.load_state_dict(weights)
    net = InferenceModel(model, info, config).eval()
    attach_metadata(net, metadata, content, path)
    return net
