"""A trained network in a program of your own: load("outputs/run").predict("picture.jpg")."""

import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_lightning_hydra.network import Network, Prediction, load

STARTED = time.perf_counter()  # of the process, as in src: every command of the wheel imports this file first
__all__ = ["Network", "Prediction", "load"]

if not (Path(__file__).parent / "cli").is_dir() and find_spec("src") is None:
    sys.path.append(str(Path(__file__).parents[1]))  # an editable install, used outside the checkout


def __getattr__(name: str) -> Any:
    """The names above, once they are needed: they import torch, and `--help` of a command does not."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mnist_lightning_hydra import network

    return getattr(network, name)
