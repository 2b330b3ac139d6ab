"""The weights that torchvision publishes for its networks: which there are, their file, their normalization."""

import http.client
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor

from src.errors import InputError, require
from src.files import display_path, lock

TIMEOUT_S = 20.0  # without an answer of the server
OWN_SCALING = ("googlenet", "inception_v3")  # rescale ImageNet's normalization to mean and std 0.5 at their input


def published_weights(name: str, weights: str | None) -> Any:
    """The member of torchvision's enum that `weights` names, or whose file it is; DEFAULT for anything else."""
    from torchvision.models import get_model_weights

    known = get_model_weights(name)
    by_file = {file_name(member): member for member in known}
    member = known.__members__.get(weights or "DEFAULT") or by_file.get(Path(weights or "").name)
    return member or known.__members__["DEFAULT"]


def file_name(member: Any) -> str:
    """The name of the file that holds published weights."""
    return member.url.rpartition("/")[2]


def image_side(member: Any) -> int:
    """Side of the images that the weights were trained for, pixels."""
    return member.transforms().crop_size[0]


def normalization(name: str, member: Any, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std per channel that the weights expect; for another number of channels than 3, their averages."""
    preset = member.transforms()
    mean, std = (tuple(preset.mean), tuple(preset.std)) if name not in OWN_SCALING else ((0.5,) * 3, (0.5,) * 3)
    return (mean, std) if channels == 3 else ((sum(mean) / 3,) * channels, (sum(std) / 3,) * channels)


def find_weights(name: str, weights: str) -> Path:
    """The file of `weights`: a file itself, or the cached file of published weights, which is downloaded if missing.

    Raises InputError for what is neither, and where the file can be had neither from torch.hub's cache nor from the
    network; the message says which file belongs where.
    """
    from torchvision.models import get_model_weights

    path = Path(weights).expanduser()
    if path.is_file():
        return path
    known = get_model_weights(name).__members__
    if weights not in known:
        raise InputError(
            f"model.weights={weights} is no file and no weights of {name}: a file, null, {', '.join(known)}"
        )
    url, folder = known[weights].url, Path(torch.hub.get_dir()) / "checkpoints"
    file = folder / file_name(known[weights])
    if file.is_file():
        return file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".lock").touch()
        with lock(file), _timeout():  # the processes of a ddp run want it at once
            if not file.is_file():
                digest = re.search(r"-([0-9a-f]{8,})\.", file.name)
                torch.hub.download_url_to_file(url, str(file), digest and digest[1], progress=sys.stderr.isatty())
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise InputError(
            f"model.weights={weights}: the weights of {name} are not in {display_path(folder)} and cannot be "
            f"downloaded ({reason}): put {file.name} of {url} there, give model.weights=<that file>, "
            "or train from scratch: experiment=photos_scratch, or model.weights=null"
        ) from None
    return file


def read_weights(name: str, weights: str) -> dict[str, Tensor]:
    """The state dict of the file that `find_weights` finds. Raises InputError for one that holds anything else."""
    path = find_weights(name, weights)
    shown = f"model.weights={weights}" + f": {path}" * (str(path) != weights)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file it cannot read
        raise InputError(f"{shown} is not a file of weights, or is damaged ({type(error).__name__})") from None
    tensors = isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values())
    require(tensors, f"{shown} holds no state_dict: a map of names to tensors")
    finite = all(bool(value.isfinite().all()) for value in state.values())
    require(finite, f"{shown} holds values that are not finite: no network can start from them")
    return dict(state)


@contextmanager
def _timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
