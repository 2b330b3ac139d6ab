"""What an exported file says of its network beside weights and graph: texts of JSON under names, for every format.

Files of safetensors and ONNX hold the SHA-256 of their own bytes, the digits counted as zeros, so that a flipped bit
is noticed.
"""

import hashlib
import json
import platform
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from src.data.info import DataInfo
from src.errors import InputError, is_integer, is_number, require
from src.inference.tta import VIEW_COUNTS
from src.model_files.renamed import with_current_targets
from src.model_files.sniff import check_suffix

FORMAT = "mnist-lightning-hydra 1"
KEPT = ("model", "structure", "data")  # of a training's config: what commands on a finished network ask for
SEAL, OPEN = "sha256", "0" * 64
LARGEST = 1 << 30  # bytes of a file that is read


@dataclass(frozen=True)
class Metadata:
    """info, config, epoch, temperature, views: as `InferenceModel` has them; checkpoint: the digest of the
    file that was exported; versions: of what wrote this one; notes: what was done to the network since, by name."""

    info: DataInfo
    config: dict
    checkpoint: str
    epoch: int
    temperature: float | None
    views: int
    versions: dict[str, str] = field(default_factory=dict)
    notes: dict = field(default_factory=dict)

    def texts(self) -> dict[str, str]:
        """Name -> JSON, in a fixed order."""
        values = {name: value for name, value in vars(self).items() if name != "info"}
        values = {"facts": self.info.plain(), "class_names": list(self.info.class_names), **values}
        return {"format": FORMAT, **{name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}}


def make_metadata(net, **notes) -> Metadata:
    """The card of a network as `load_predictor` gives it."""
    config = {key: net.config[key] for key in KEPT if key in net.config}
    names = ("torch", "onnx", "onnxruntime", "safetensors")
    versions = {"python": platform.python_version(), **{name: _version(name) for name in names}}
    origin = getattr(net, "checkpoint", net.digest)
    notes = {**getattr(net, "notes", {}), **notes}
    return Metadata(net.info, config, origin, net.epoch, net.temperature, net.views, versions, notes)


def read_metadata(texts: dict[str, str], path: Path | str) -> Metadata:
    """The card in the texts of a file. Raises InputError if they are not those that `Card.texts` writes."""
    if texts.get("format") != FORMAT:
        raise InputError(
            f"ckpt={path} was not exported by this project: its metadata has no format={FORMAT!r}; "
            "python -m src.export writes files that can be read here"
        )
    try:
        names = [field for field in Metadata.__dataclass_fields__ if field != "info"]
        values = {name: json.loads(texts[name]) for name in names}
        values["config"] = with_current_targets(values["config"])
        card = Metadata(DataInfo.of(json.loads(texts["facts"])), **values)
        info = card.info
        for holds in (
            len(info.shape) == 3 and all(is_integer(side) and 1 <= side <= 4096 for side in info.shape),
            len(info.mean) == len(info.std) == info.shape[0],
            all(is_number(value) for value in (*info.mean, *info.std, info.scale)) and min(info.std) > 0,
            all(isinstance(name, str) for name in info.class_names) and info.num_classes >= 1,
            info.target is None or isinstance(info.target, str),
            isinstance(card.config, dict) and isinstance(card.config.get("data"), dict),
            isinstance(card.config.get("model"), dict) and isinstance(card.config.get("structure", []), list),
            isinstance(card.checkpoint, str) and is_integer(card.epoch) and card.views in VIEW_COUNTS,
            card.temperature is None or (is_number(card.temperature) and card.temperature > 0),
            isinstance(card.versions, dict) and isinstance(card.notes, dict),
        ):
            if not holds:
                raise ValueError("a value is out of range")
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"ckpt={path}: its metadata is damaged ({type(error).__name__}: {error})") from None
    return card


def read_model_file(path: Path | str, most: int = LARGEST) -> bytes:
    """The bytes of a file of at most `most` bytes. Raises InputError for an address, for what cannot be read, is
    empty or of another kind than its name says."""
    if "://" in str(path):
        raise InputError(f"ckpt={path}: addresses are not loaded; download the file and give its path")
    try:
        size = Path(path).stat().st_size
        require(size <= most, f"ckpt={path} has {size:,} bytes: files of up to {most:,} are read")
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"ckpt={path} cannot be read ({error.strerror})") from None
    check_suffix(content, path)
    return content


def embed_digest(content: bytes) -> bytes:
    """The file with the zeros of its seal made the digest of its bytes."""
    zeros = OPEN.encode()
    if content.count(zeros) != 1:
        raise ValueError(f"{content.count(zeros)} places for the digest, and not one")
    return content.replace(zeros, hashlib.sha256(content).hexdigest().encode())


def check_digest(content: bytes, digits: object, path: Path | str) -> None:
    """Raise InputError unless the file's bytes have the digest that stands in them."""
    given = digits.encode() if isinstance(digits, str) else b""
    known = len(given) == len(OPEN) and content.count(given) == 1
    if not known or hashlib.sha256(content.replace(given, OPEN.encode())).hexdigest().encode() != given:
        raise InputError(f"ckpt={path} is damaged: its bytes do not have the digest they were written with")


def attach_metadata(net, card: Metadata, content: bytes, path: Path | str) -> None:
    """Give a network of a file what every loaded network has beside `forward` and `probs`."""
    net.info, net.config, net.epoch = card.info, card.config, card.epoch
    net.temperature, net.views, net.notes, net.checkpoint = card.temperature, card.views, card.notes, card.checkpoint
    net.digest, net.file, net.complete = hashlib.sha256(content).hexdigest(), str(Path(path).resolve()), True


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
