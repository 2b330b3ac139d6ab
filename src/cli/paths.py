"""The keys that name files and folders: an empty one is no path, and would mean the working directory."""

from collections.abc import Sequence
from itertools import pairwise

from omegaconf import DictConfig, OmegaConf

from src.cli.overrides import has_blank_text, override_key, split_flags
from src.errors import require

NETWORK = "a run's folder, a file or newest"
RESULTS = "the folder for the results, or leave it out"
PATHS = {
    "data.root": "the folder of the data set",
    "data.unlabelled": "true, false or a folder of pictures",
    "data.mix.root": "the folder of the data set",
    "ckpt": NETWORK,
    "base": "the file that the checkpoint's changes belong to, or leave it out",
    "init_from": NETWORK,
    "resume_from": "a run's folder, its last.ckpt or newest",
    "loss.teacher": NETWORK,
    "model.weights": "DEFAULT, a name or a file of weights, or null for none",
    "images": "files, folders, or patterns such as 'digits/*.png'",
    "file": "the file to write, or leave it out",
    "feedback": "the file that stores corrections, or null for none",
    "token_file": "the file that holds the token, or leave it out",
    "predictions": "the folder of a sweep over data.fold, or leave it out",
    "runs": "folders of runs or sweeps",
    "sweep.resume": "a sweep's folder, or newest",
    "hydra.run.dir": RESULTS,
    "hydra.sweep.dir": RESULTS,
    "hydra.sweeper.storage": "sqlite, journal or the URL of a database",
}
FLAGS = ("--config-dir", "-cd", "--config-path", "-cp")


def check_typed_paths(words: Sequence[str]) -> None:
    """Raise InputError for a key or flag of a path that is typed without one, before anything is written."""
    flags, overrides = split_flags(words)
    for flag, value in pairwise(flags):
        require(flag not in FLAGS or bool(value.strip()), f"{flag} is empty: give a folder of options")
    for word in overrides:
        key, (_, equals, value) = override_key(word), word.partition("=")
        require(not (equals and key in PATHS and has_blank_text(value)), _problem(key))


def check_paths(cfg: DictConfig) -> None:
    """Raise InputError for an empty path in a composed config, as one of an option's file or of a sweep's job."""
    for key in PATHS:
        if not key.startswith("hydra."):
            value = OmegaConf.select(cfg, key)
            entries = value if OmegaConf.is_list(value) else [value]
            require(not any(isinstance(entry, str) and not entry.strip() for entry in entries), _problem(key))


def _problem(key: str) -> str:
    return f"{key} is empty: give {PATHS.get(key)}"
