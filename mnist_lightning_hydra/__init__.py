"""A trained network in a program of your own: load("outputs/run").predict("picture.jpg")."""

import sys
from importlib.util import find_spec
from pathlib import Path

if not (Path(__file__).parent / "cli").is_dir() and find_spec("src") is None:
    sys.path.append(str(Path(__file__).parents[1]))  # an editable install, used outside the checkout

from mnist_lightning_hydra.network import Network, Prediction, load

__all__ = ["Network", "Prediction", "load"]
