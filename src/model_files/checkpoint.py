"""The only reader and writer of model files.

A checkpoint is what torch.save writes (a zip archive) of tensors and plain values. The archive's comment holds the
SHA-256 of everything before it, so that a file carries its own digest and stays readable by torch.load.
"""

import hashlib
import importlib
import io
from collections.abc import Callable
from pathlib import Path

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor, nn

from src.data.info import DataInfo
from src.errors import InputError
from src.files import write_bytes
from src.finetune.method import Method
from src.inference.model import InferenceModel
from src.model_files.renamed import with_current_targets
from src.model_files.sniff import check_suffix
from src.models.structure import reset_head

MARK = b"sha256:"
COMMENT = len(MARK) + 64
MODELS, METHODS = "src.models.", "src.finetune."


def checkpoint_bytes(checkpoint: dict) -> bytes:
    """A file of tensors and plain values with their digest."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    return embed_archive_digest(buffer.getbuffer())


def write_checkpoint(checkpoint: dict, path: Path) -> str:
    """Write `checkpoint_bytes`; readers see the old file or the whole new one. Returns the digest."""
    content = checkpoint_bytes(checkpoint)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content)
    return content[len(MARK) - COMMENT :].decode()


def embed_archive_digest(archive: bytes | memoryview) -> bytes:
    """A zip archive without a comment, and with the one that holds its digest."""
    body = archive[:-2]  # without the comment's length, which is 0
    comment = MARK + hashlib.sha256(body).hexdigest().encode()
    return b"".join((body, len(comment).to_bytes(2, "little"), comment))


def check_archive_digest(content: bytes, path: Path | str) -> str:
    """The digest of what `embed_archive_digest` gave. Raises InputError if it is something else, or damaged."""
    comment = content[-COMMENT:]
    if not content.startswith(b"PK") or not comment.startswith(MARK):
        raise InputError(
            f"ckpt={path} ({len(content):,} bytes) is damaged or no checkpoint of this project: "
            "it does not end in a digest"
        )
    digest = hashlib.sha256(memoryview(content)[: -COMMENT - 2]).hexdigest()
    if comment != MARK + digest.encode():
        raise InputError(f"ckpt={path} is damaged: its bytes do not have the digest they were written with")
    return digest


def read_checkpoint(path: Path | str) -> dict:
    """Read a file of `write_checkpoint`, its digest checked, loading tensors and plain values only.

    Raises InputError for a URL, a missing, foreign, truncated or damaged file.
    """
    if "://" in str(path):
        raise InputError(f"ckpt={path}: addresses are not loaded; download the file and give its path")
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"ckpt={path} cannot be read ({error.strerror})") from None
    check_suffix(content, path)
    digest = check_archive_digest(content, path)
    try:
        checkpoint = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for what weights_only refuses
        raise InputError(f"ckpt={path} holds more than tensors and plain values ({type(error).__name__})") from None
    missing = {"state_dict", "config", "facts"} - set(checkpoint if isinstance(checkpoint, dict) else ())
    if missing:
        raise InputError(f"ckpt={path} is no checkpoint of this project: it lacks {', '.join(sorted(missing))}")
    checkpoint["config"] = with_current_targets(checkpoint["config"])
    checkpoint["digest"] = digest
    return checkpoint


class CheckpointFiles(TorchCheckpointIO):
    """Lets the Trainer write and read through this module."""

    def save_checkpoint(self, checkpoint: dict, path, storage_options=None) -> None:
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(self, path, map_location=None, weights_only=None) -> dict:
        return read_checkpoint(path)


def load_model(path: Path | str, base: Path | str | None = None) -> InferenceModel:
    """The trained network of a checkpoint, in eval mode, ready for raw grey levels; needs no data set.

    What fine-tuning added to weights is folded into them. base: where the start of a file of changes is now, if it is
    not where it was.
    Raises InputError for what `read_checkpoint` refuses, a network from outside `src.models`, weights that do not fit
    it, or changes whose start is missing or another one.
    """
    checkpoint = read_checkpoint(path)
    config, info = checkpoint["config"], DataInfo.of(checkpoint["facts"])
    model, inherited = _start(checkpoint, info, path, base)
    structure = config.get("structure", [])
    methods = [_build(options, METHODS, path) for options in structure[inherited:]]
    for method in methods:
        model = method.adapt(model, info.shape)
    weights = {
        key.removeprefix("model."): value for key, value in checkpoint["state_dict"].items() if key.startswith("model.")
    }
    try:
        unknown = model.load_state_dict(weights, strict="base" not in checkpoint).unexpected_keys
        problem = f"unknown: {unknown[0]}" if unknown else ""
    except RuntimeError as error:
        problem = str(error).splitlines()[-1].strip()
    if problem:
        raise InputError(f"ckpt={path}: the weights do not fit the network ({problem})")
    for method in methods:
        method.merge(model)
    left = [options for options, method in zip(structure[inherited:], methods, strict=True) if not method.merges]
    config = {**config, "structure": [*structure[:inherited], *left]}
    net = InferenceModel(model, info, config, checkpoint["digest"], checkpoint["epoch"] + 1).eval()
    net.file, net.complete = str(Path(path).resolve()), "base" not in checkpoint
    net.temperature = checkpoint.get("temperature")
    return net


def rebuild_model(
    config: dict, info: DataInfo, read: Callable[[dict[str, Tensor]], dict[str, Tensor]], path
) -> InferenceModel:
    """The network of a config, every weight of it from `read`, in eval mode.

    read: given the entries that the network has, without values, returns them with values. Nothing is computed, and no
    memory taken, before it has. Raises InputError for a network from outside `src.models`, or weights that do not fit.
    """

    def make() -> nn.Module:
        model, _ = _start({"config": config}, info, path, None)
        for options in config.get("structure", []):
            model = _build(options, METHODS, path).adapt(model, info.shape)
        return model

    try:
        with torch.device("meta"):
            wanted = make().state_dict()
        weights = read(wanted)
        model = make()
    except (RuntimeError, ValueError, OverflowError, MemoryError) as error:
        if str(error).startswith("ckpt="):  # says already which file it is about
            raise
        raise InputError(f"ckpt={path}: its network cannot be built ({error})") from None
    strange = sorted(wanted.keys() ^ weights.keys())
    strange += [key for key in wanted if key in weights and weights[key].shape != wanted[key].shape]
    strange += [key for key in wanted if key in weights and weights[key].dtype != wanted[key].dtype]
    if strange:
        raise InputError(f"ckpt={path}: the weights do not fit the network (first: {strange[0]})")
    model.load_state_dict(weights)
    return InferenceModel(model, info, config).eval()


def _start(checkpoint: dict, info: DataInfo, path: Path | str, base: Path | str | None) -> tuple[nn.Module, int]:
    """The network that the weights of a checkpoint go into, untrained, or the base of a file of changes; how many of
    its methods it has in it already."""
    config = checkpoint["config"]
    if "base" not in checkpoint:
        options = {**config.get("model", {}), "shape": info.shape, "num_classes": info.num_classes}
        return _build(options, MODELS, path), 0
    wanted = checkpoint["base"]
    file = Path(base or wanted["file"])
    if not file.is_file():
        raise InputError(
            f"ckpt={path} holds changes of {file}, which is gone: put it back, or give src.evaluate base=..."
        )
    start = load_model(file)
    if start.digest != wanted["sha256"]:
        raise InputError(f"ckpt={path} holds changes of another network than {file}: its SHA-256 is {wanted['sha256']}")
    if config.get("fresh_head"):
        reset_head(start.model, info.num_classes)
    return start.model, len(start.config["structure"])


def _build(options: dict, room: str, path: Path | str) -> object:
    """What `options` (a _target_ and its arguments, as in conf) describe; the file never chooses what runs.

    Raises InputError if its class is not one of `room`, or refuses the options.
    """
    options = dict(options)
    target = str(options.pop("_target_", None))
    options.pop("_convert_", None)
    if not target.startswith(room):
        raise InputError(f"ckpt={path} asks for {target}: only networks and methods from here are built from a file")
    if "weights" in options:
        options["weights"] = None  # the checkpoint has them
    module, _, name = target.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
        if not issubclass(cls, nn.Module | Method):
            raise TypeError(f"{name} is neither a network nor a method")
        return cls(**options)
    except (ImportError, AttributeError, TypeError) as error:
        raise InputError(f"ckpt={path}: {target} cannot be built ({error})") from None


def write_temperature(path: Path, temperature: float) -> str:
    """Write it into a checkpoint; returns the file's new digest."""
    checkpoint = read_checkpoint(path)
    del checkpoint["digest"]
    return write_checkpoint({**checkpoint, "temperature": temperature}, path)
