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
from src.errors import InputError
from src.inference.model import Predictor
from src.model_files.renamed import with_current_targets
from src.model_files.schema import check_metadata, read_info

FORMAT = "mnist-lightning-hydra 1"
CONFIG_KEYS = (
    "model",
    "structure",
    "data",
    "metrics",
)  # of a training's config: what commands on a trained network read
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
    if not config.get("metrics"):
        config.pop("metrics", None)
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
        raise InputError(f"{path} was not exported by this project: {problem}")
    try:
        names = [field for field in Metadata.__dataclass_fields__ if field != "info"]
        values = {name: json.loads(strings[name]) for name in names}
        values["config"] = with_current_targets(values["config"])
        check_metadata(values, path)
        if not {"data", "model"} <= values["config"].keys():
            raise KeyError("config lacks data or model")
        metadata = Metadata(read_info(json.loads(strings["facts"]), path), **values)
    except InputError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: its metadata is damaged ({type(error).__name__}: {error})") from None
    if content is not None:
        found, placeholder = str(strings.get(DIGEST_KEY)).encode(), DIGEST_PLACEHOLDER.encode()
        once = len(found) == len(placeholder) and content.count(found) == 1
        if not once or hashlib.sha256(content.replace(found, placeholder)).hexdigest().encode() != found:
            raise InputError(f"{path} is damaged: its bytes do not have the digest they were written with")
    return metadata


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
