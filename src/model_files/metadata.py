"""The metadata of an exported file: JSON strings by name, the same in every format.

safetensors and ONNX files hold the SHA-256 of their own bytes, taken with zeros in its place, so that a flipped bit is
noticed.
"""

import hashlib
import json
import platform
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from src.data.info import DataInfo
from src.errors import InputError, is_integer, is_number
from src.inference.model import Predictor
from src.inference.tta import VIEW_COUNTS
from src.model_files.renamed import with_current_targets

FORMAT = "mnist-lightning-hydra 1"
CONFIG_KEYS = ("model", "structure", "data")  # of a training's config: what commands on a trained network read
DIGEST_KEY, DIGEST_PLACEHOLDER = "sha256", "0" * 64
EMPTY_DIGEST = {DIGEST_KEY: DIGEST_PLACEHOLDER}  # among the strings of a file that holds its own digest


@dataclass(frozen=True)
class Metadata:
    """What `src.inference.model.Predictor` has beside its outputs, under the same names, and more.

    checkpoint: the digest of the file that was exported. versions: of the packages that wrote this one. notes: what
    was done to the network since, by name.
    """

    info: DataInfo
    config: dict[str, Any]
    checkpoint: str
    epoch: int
    temperature: float | None
    views: int
    versions: dict[str, str]
    notes: dict[str, Any]

    def to_strings(self) -> dict[str, str]:
        """Name → JSON, in a fixed order."""
        values = {name: value for name, value in vars(self).items() if name != "info"}
        values = {"facts": self.info.to_dict(), "class_names": list(self.info.class_names), **values}
        return {"format": FORMAT, **{name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}}


def make_metadata(net: Predictor) -> Metadata:
    """The metadata of a network from any file."""
    config = {key: net.config[key] for key in CONFIG_KEYS if key in net.config}
    packages = ("torch", "onnx", "onnxruntime", "safetensors")
    versions = {"python": platform.python_version(), **dict.fromkeys(packages, "not installed")}
    for name in packages:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    checkpoint = getattr(net, "checkpoint", net.digest)
    notes = getattr(net, "notes", {})
    return Metadata(net.info, config, checkpoint, net.epoch, net.temperature, net.views, versions, notes)


def read_metadata(strings: dict[str, str], path: Path | str, content: bytes | None = None) -> Metadata:
    """Parse what `Metadata.to_strings` gives. Raises InputError for anything else, and for values out of range.

    content: the bytes of a file that holds its own digest, which is checked.
    """
    if strings.get("format") != FORMAT:
        problem = f"its metadata has no format={FORMAT!r}; python -m src.export writes files that can be read here"
        raise InputError(f"ckpt={path} was not exported by this project: {problem}")
    try:
        names = [field for field in Metadata.__dataclass_fields__ if field != "info"]
        values = {name: json.loads(strings[name]) for name in names}
        values["config"] = with_current_targets(values["config"])
        metadata = Metadata(DataInfo.from_dict(json.loads(strings["facts"])), **values)
        if not _is_valid(metadata):
            raise ValueError("a value is out of range")
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"ckpt={path}: its metadata is damaged ({type(error).__name__}: {error})") from None
    if content is not None:
        found, placeholder = str(strings.get(DIGEST_KEY)).encode(), DIGEST_PLACEHOLDER.encode()
        once = len(found) == len(placeholder) and content.count(found) == 1
        if not once or hashlib.sha256(content.replace(found, placeholder)).hexdigest().encode() != found:
            raise InputError(f"ckpt={path} is damaged: its bytes do not have the digest they were written with")
    return metadata


def _is_valid(metadata: Metadata) -> bool:
    """Whether values of a foreign file have the types and ranges that the rest of the code relies on."""
    info, config, temperature = metadata.info, metadata.config, metadata.temperature
    return all(
        (
            len(info.shape) == 3 and all(is_integer(side) and 1 <= side <= 4096 for side in info.shape),
            len(info.mean) == len(info.std) == info.shape[0],
            all(is_number(value) for value in (*info.mean, *info.std, info.scale)) and min(info.std) > 0,
            all(isinstance(name, str) for name in info.class_names) and info.num_classes >= 1,
            info.target is None or isinstance(info.target, str),
            isinstance(config, dict) and isinstance(config.get("data"), dict),
            isinstance(config.get("model"), dict) and isinstance(config.get("structure", []), list),
            isinstance(metadata.checkpoint, str) and is_integer(metadata.epoch) and metadata.views in VIEW_COUNTS,
            temperature is None or (is_number(temperature) and temperature > 0),
            isinstance(metadata.versions, dict) and isinstance(metadata.notes, dict),
        )
    )


def attach_metadata(net: Predictor, metadata: Metadata, content: bytes, path: Path | str) -> None:
    """Give a network of an exported file the attributes of a `Predictor`, and `checkpoint` and `notes`."""
    for name in ("info", "config", "checkpoint", "epoch", "temperature", "views", "notes"):
        setattr(net, name, getattr(metadata, name))
    net.digest, net.file = hashlib.sha256(content).hexdigest(), str(Path(path).resolve())


def embed_digest(content: bytes) -> bytes:
    """A file with the digest of its bytes in place of the placeholder, which must stand in it once."""
    placeholder = DIGEST_PLACEHOLDER.encode()
    if content.count(placeholder) != 1:
        raise ValueError(f"{content.count(placeholder)} places for the digest, and not one")
    return content.replace(placeholder, hashlib.sha256(content).hexdigest().encode())
