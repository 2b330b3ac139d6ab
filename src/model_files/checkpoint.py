"""Checkpoints: written and read whole, their digest checked, their network built.

A checkpoint is what torch.save writes (a zip archive) of tensors and plain values. The archive's comment holds the
SHA-256 of all bytes before it, so that a file carries its own digest and stays readable by torch.load.
"""

import hashlib
import io
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import nn

from src.data.info import DataInfo
from src.errors import InputError, require
from src.files import write_bytes
from src.finetune.method import Method
from src.inference.model import InferenceModel
from src.model_files.build import build_network, build_part, outline
from src.model_files.locate import read_model_file
from src.model_files.renamed import with_current_targets
from src.model_files.schema import check_archive, check_checkpoint
from src.models.structure import reset_head

DIGEST_PREFIX = b"sha256:"
COMMENT_BYTES = len(DIGEST_PREFIX) + 64


def checkpoint_bytes(checkpoint: dict) -> bytes:
    """The content of a file: the checkpoint and its digest."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    return embed_archive_digest(buffer.getbuffer())


def write_checkpoint(checkpoint: dict, path: Path) -> str:
    """Write `checkpoint_bytes`; readers see the old file or the whole new one. Returns the digest."""
    content = checkpoint_bytes(checkpoint)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content)
    return content[len(DIGEST_PREFIX) - COMMENT_BYTES :].decode()


def embed_archive_digest(archive: bytes | memoryview) -> bytes:
    """A zip archive without a comment, with its digest as the comment."""
    body = archive[:-2]  # without the comment's length, which is 0
    comment = DIGEST_PREFIX + hashlib.sha256(body).hexdigest().encode()
    return b"".join((body, len(comment).to_bytes(2, "little"), comment))


def check_archive_digest(content: bytes, path: Path | str) -> str:
    """The digest in an archive's comment. Raises InputError if there is none, or the bytes have another one."""
    comment = content[-COMMENT_BYTES:]
    if not content.startswith(b"PK") or not comment.startswith(DIGEST_PREFIX):
        problem = "is damaged or no checkpoint of this project: it does not end in a digest"
        raise InputError(f"{path} ({len(content):,} bytes) {problem}")
    digest = hashlib.sha256(memoryview(content)[: -COMMENT_BYTES - 2]).hexdigest()
    if comment != DIGEST_PREFIX + digest.encode():
        raise InputError(f"{path} is damaged: its bytes do not have the digest they were written with")
    return digest


def read_checkpoint(path: Path | str) -> dict:
    """The tensors and plain values of a checkpoint, and its digest, under their keys.

    Raises InputError for a URL, a missing, foreign, truncated or damaged file, and for one that holds anything else.
    """
    content = read_model_file(path, max_bytes=None)
    digest = check_archive_digest(content, path)
    check_archive(content, path)
    try:
        checkpoint = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for what weights_only refuses
        raise InputError(f"{path} holds more than tensors and plain values ({type(error).__name__})") from None
    check_checkpoint(checkpoint, path)
    checkpoint["config"] = with_current_targets(checkpoint["config"])
    checkpoint["digest"] = digest
    return checkpoint


def write_temperature(path: Path, temperature: float) -> str:
    """Add the temperature to a checkpoint; returns the file's new digest."""
    checkpoint = read_checkpoint(path)
    del checkpoint["digest"]
    return write_checkpoint({**checkpoint, "temperature": temperature}, path)


class CheckpointFiles(TorchCheckpointIO):
    """Makes Lightning's Trainer write and read checkpoints with their digest."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path, storage_options=None) -> None:
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(self, path, map_location=None, weights_only=None) -> dict[str, Any]:
        return read_checkpoint(path)


def load_model(path: Path | str, base: Path | str | None = None, whole: bool = False) -> InferenceModel:
    """The trained network of a checkpoint, in eval mode, for raw grey levels; reads no data set.

    Adapters that can be merged are merged. base: the source model of an adapter checkpoint, if it moved. whole: refuse
    an adapter checkpoint, as the base of one.
    Raises InputError for what `read_checkpoint` refuses, classes from outside the project that are not trusted, weights
    that do not fit the network, and a missing or wrong base.
    """
    checkpoint = read_checkpoint(path)
    config, info = checkpoint["config"], DataInfo.from_dict(checkpoint["facts"])
    structure, inherited, weights = config.get("structure", []), 0, checkpoint["state_dict"]
    if "base" in checkpoint:
        require(not whole, f"{path} is itself an adapter: it cannot be the base of another")
        model, inherited = _load_base(checkpoint, info, path, base)
    else:
        outline(config, info, path, len(weights), sum(value.numel() for value in weights.values()))
        model = build_network(config, info, path)
    methods = [build_part(Method, options, path) for options in structure[inherited:]]
    for method in methods:
        model = method.adapt(model, info.shape)
    _load_weights(model, checkpoint, path)
    for method in methods:
        method.merge(model)
    unmerged = [options for options, method in zip(structure[inherited:], methods, strict=True) if not method.mergeable]
    config = {**config, "structure": [*structure[:inherited], *unmerged]}
    net = InferenceModel(model, info, config, checkpoint["digest"], checkpoint["epoch"] + 1).eval()
    net.file, net.complete = str(Path(path).resolve()), "base" not in checkpoint
    net.temperature, net.seen = checkpoint.get("temperature"), checkpoint.get("seen")
    return net


def _load_weights(model: nn.Module, checkpoint: dict, path: Path | str) -> None:
    """Load the `model.*` entries; an adapter checkpoint may lack some, but holds no unknown one."""
    weights = {
        key.removeprefix("model."): value for key, value in checkpoint["state_dict"].items() if key.startswith("model.")
    }
    try:
        unknown = model.load_state_dict(weights, strict="base" not in checkpoint).unexpected_keys
        problem = f"unknown: {unknown[0]}" if unknown else ""
    except RuntimeError as error:
        problem = str(error).splitlines()[-1].strip()
    if problem:
        raise InputError(f"{path}: the weights do not fit the network ({problem})")


def _load_base(checkpoint: dict, info: DataInfo, path: Path | str, base: Path | str | None) -> tuple[nn.Module, int]:
    """The source model of an adapter checkpoint, and how many of the checkpoint's methods it already contains."""
    file, digest = Path(base or checkpoint["base"]["file"]), checkpoint["base"]["sha256"]
    message = f"{path} holds changes of"
    require(file.is_file(), f"{message} {file}, which is gone: put it back, or give src.evaluate base=...")
    source = load_model(file, whole=True)
    require(source.digest == digest, f"{message} another network than {file}: its SHA-256 is {digest}")
    if checkpoint["config"].get("fresh_head"):
        reset_head(source.model, info.num_classes)
    return source.model, len(source.config["structure"])
