"""What a model file may hold: types, ranges and sizes, checked before anything is built of it.

A digest proves that a file is whole, not who wrote it. Sizes are held against the file itself: a network has no more
parameters than the file has numbers, so that a small file never takes much memory or time.
"""

import io
import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from src.data.info import DataInfo
from src.errors import InputError, is_integer, is_number, printable, require
from src.inference.tta import VIEW_COUNTS

MAX_SIDE = 4096  # pixels of an image that a network reads
MAX_CHANNELS = 64
MAX_CLASSES, MAX_NAME = 100_000, 1000  # classes, and characters of a name
MAX_METHODS = 100  # of fine-tuning, one after another
MAX_PICKLE_BYTES, MAX_PICKLE_STEPS = 8 << 20, 2_000_000
PLAIN_GLOBALS = re.compile(r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|parameter)|torch [A-Za-z]\w*")


def check_archive(content: bytes, path: Path | str) -> None:
    """Raise InputError for a checkpoint's archive that is compressed, or whose pickle names or does more than it may.

    torch.load with weights_only runs no foreign code; it would still make a bytearray of any length.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
            require(stored, f"{path} is compressed: torch.save writes archives that are not")
            pickles = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
            require(len(pickles) == 1, f"{path} is no checkpoint of this project: it has {len(pickles)} pickles")
            size = pickles[0].file_size
            fine = size <= min(MAX_PICKLE_BYTES, len(content))
            require(fine, f"{path}: its pickle has {size:,} bytes; up to {MAX_PICKLE_BYTES:,} are read")
            steps = pickletools.genops(archive.read(pickles[0]))
            for count, (step, argument, _) in enumerate(steps):
                require(count < MAX_PICKLE_STEPS, f"{path}: its pickle has over {MAX_PICKLE_STEPS:,} steps")
                if step.name in ("GLOBAL", "STACK_GLOBAL", "INST") and not PLAIN_GLOBALS.fullmatch(str(argument)):
                    raise InputError(f"{path} holds more than tensors and plain values ({printable(argument, 80)})")
    except InputError:
        raise
    except Exception as error:  # zipfile and pickletools raise many kinds for damaged files
        raise InputError(f"{path} is damaged: its archive cannot be read ({type(error).__name__})") from None


def check_checkpoint(checkpoint: Any, path: Path | str) -> None:
    """Raise InputError unless a checkpoint's entries have the types and ranges that the rest of the code relies on."""
    missing = {"state_dict", "config", "facts"} - set(checkpoint if isinstance(checkpoint, dict) else ())
    names = ", ".join(sorted(missing))
    require(not missing, f"{path} is no checkpoint of this project: it lacks {names}")
    _check_weights(checkpoint["state_dict"], path)
    read_info(checkpoint["facts"], path)
    _check_entries({**checkpoint, "views": (_mapping(checkpoint["config"]) or {}).get("views", 1)}, path)
    seen = checkpoint.get("seen")
    if seen is not None:
        digests = isinstance(seen, dict) and {"train", "val"} <= seen.keys() <= {"train", "val", "earlier"}
        fine = digests and all(isinstance(v, Tensor) and v.dtype == torch.int64 and v.ndim == 1 for v in seen.values())
        require(fine, f"{path} is damaged: seen holds no digests of pictures")
    base = checkpoint.get("base")
    if base is not None:
        texts = isinstance(base, dict) and all(isinstance(base.get(key), str) for key in ("file", "sha256"))
        require(texts, f"{path} is damaged: base is no file with its sha256")


def check_metadata(values: dict[str, Any], path: Path | str) -> None:
    """Raise InputError unless the metadata of an exported file have such types and ranges."""
    _check_entries(values, path)
    for name, kind in (("checkpoint", str), ("versions", dict), ("notes", dict)):
        require(isinstance(values[name], kind), f"{path} is damaged: {name} is no {kind.__name__}")


def read_info(values: Any, path: Path | str) -> DataInfo:
    """The `DataInfo` of a file. Raises InputError for values that no data have."""
    try:
        info = DataInfo.from_dict(values)
        channels, *sides = info.shape
        good = (
            all(isinstance(value, tuple) for value in (info.shape, info.class_names, info.mean, info.std))
            and len(sides) == 2
            and all(map(is_integer, info.shape))
            and 1 <= channels <= MAX_CHANNELS
            and all(1 <= side <= MAX_SIDE for side in sides)
            and len(info.mean) == len(info.std) == channels
            and all(is_number(value) for value in (*info.mean, *info.std, info.scale))
            and min(info.std) > 0
            and info.scale > 0
            and (info.target is None or (isinstance(info.target, str) and 0 < len(info.target) <= MAX_NAME))
            and (info.target is not None or 1 <= len(info.class_names) <= MAX_CLASSES)
            and all(isinstance(name, str) and len(name) <= MAX_NAME for name in info.class_names)
        )
    except (AttributeError, TypeError, ValueError, OverflowError):
        good = False
    require(good, f"{path} is damaged: what it says of its data (shape, classes, mean, std) cannot be")
    return info


def _check_entries(values: Mapping[str, Any], path: Path | str) -> None:
    config, temperature = _mapping(values["config"]), values.get("temperature")
    parts, methods = [(config or {}).get(key, {}) for key in ("data", "model")], (config or {}).get("structure", [])
    problems = {
        "config": config is None or any(_mapping(part) is None for part in parts),
        "structure": not isinstance(methods, list)
        or len(methods) > MAX_METHODS
        or any(_mapping(options) is None for options in methods),
        "epoch": not (is_integer(values.get("epoch")) and -1 <= values["epoch"] < 1 << 31),
        "temperature": temperature is not None and not (is_number(temperature) and temperature > 0),
        "views": isinstance(values["views"], bool) or values["views"] not in VIEW_COUNTS,
    }
    wrong = ", ".join(name for name, problem in problems.items() if problem)
    require(not wrong, f"{path} is damaged: {wrong} is not of the type or in the range that it has to be")


def _mapping(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) and all(isinstance(key, str) for key in value) else None


def _check_weights(weights: Any, path: Path | str) -> None:
    damaged = f"{path} is damaged: state_dict"
    good = isinstance(weights, dict) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in weights.items()
    )
    require(good, f"{damaged} is no mapping of names to tensors")
    for name, value in weights.items():
        whole = value.numel() * value.element_size() <= value.untyped_storage().nbytes()
        require(whole, f"{damaged} has {printable(name, 80)} with more values than it stores")
        require(not value.is_complex(), f"{damaged} has complex values: {printable(name, 80)}")
        finite = not (name.startswith("model.") and value.is_floating_point()) or bool(value.isfinite().all())
        require(finite, f"{damaged} has values that are not finite: {printable(name, 80)}")


@contextmanager
def size_limit(config: Mapping[str, Any], tensors: int, numbers: int, path: Path | str) -> Iterator[None]:
    """Build a network on the meta device, and no larger one than its file can hold.

    config: of a file; the numbers in its model and structure count widths and layers. tensors, numbers: that the file
    has, at most. Raises InputError for more than four times as many, before memory is taken.
    """
    thread, left = get_ident(), [4 * tensors + 64, 4 * numbers + (1 << 20)]
    refused = f"{path}: the weights do not fit the network: it would be larger than the file"
    require(_largest([config.get(key) for key in ("model", "structure")]) <= max(numbers, 1 << 16), refused)

    def count(module: nn.Module, name: str, parameter: Any) -> None:
        if get_ident() == thread and parameter is not None:
            left[0] -= 1
            left[1] -= parameter.numel()
            require(left[0] >= 0 and left[1] >= 0, refused)

    hook = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"):
            yield
    finally:
        hook.remove()


def _largest(value: Any, depth: int = 0) -> float:
    """The largest number in nested plain values."""
    if depth > 20 or isinstance(value, bool):
        return 0
    if isinstance(value, int | float):
        return abs(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return max((_largest(each, depth + 1) for each in inner), default=0)
