"""Config nodes to objects and to plain values: the only caller of Hydra's instantiate."""

from pathlib import Path

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from src.cli.error_line import one_line
from src.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


CONF = ROOT / "conf"


def build(node: DictConfig | None, key: str, *args, **kwargs):
    """The object that a config node describes; None for no node. The only caller of Hydra's instantiate.

    key: the node's name, for the error. Raises InputError if the constructor refuses its arguments.
    """
    if node is None:
        return None
    try:
        return hydra.utils.instantiate(node, *args, **kwargs, _convert_="all")
    except HydraException as error:
        cause = error.__cause__
        if isinstance(cause, InputError):
            raise cause from None
        raise InputError(
            f"{key}: {node.get('_target_', '')} refused its arguments ({one_line(cause or error)})"
        ) from error


def to_plain(node: DictConfig) -> dict:
    """A resolved config as dicts, lists, strings and numbers."""
    return OmegaConf.to_container(node, resolve=True)
