"""From configs to objects and plain values; the only caller of Hydra's instantiate."""

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

from src.cli.error_line import error_line, message_line
from src.cli.overrides import expand_home, override_key
from src.cli.targets import drop_replaced_keys, with_open_nodes
from src.errors import InputError, require
from src.files import OUTPUTS
from src.model_files.renamed import PACKAGE, current_target, with_import_paths
from src.model_files.trust import find_object

ROOT = Path(__file__).resolve().parents[2]
CONF = next(path for path in (ROOT / "conf", ROOT / PACKAGE / "conf") if path.is_dir())  # checkout, or installed


def load_config(overrides: Sequence[str] = (), verb: str = "train", output_dir: Path | str | None = None) -> DictConfig:
    """The config of `python -m src.<verb> <overrides>`, for notebooks, tests and benchmarks.

    output_dir: the folder of the run; None takes a new one in outputs/. What the command adds is to be given here: with
    init_from experiment=finetune, with resume_from the run's own overrides and its folder.
    Raises InputError for overrides that Hydra refuses.
    """
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            words = [expand_home(word) for word in overrides]
            cfg = hydra.compose(verb, with_open_nodes(words), return_hydra_config=True)
    except HydraException as error:
        raise InputError(error_line(error)) from error
    finally:
        GlobalHydra.instance().clear()
        if running is not None:
            GlobalHydra.instance().initialize(running)
    with open_dict(cfg):
        _resolve_key(cfg, "run_name")
        unique = OUTPUTS.resolve() / f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}_{cfg.get('run_name', verb)}"
        cfg.hydra.runtime.output_dir = str(output_dir or unique)
        _resolve_key(cfg, "output_dir")
        choices = cfg.hydra.runtime.choices
        del cfg["hydra"]
    drop_replaced_keys(cfg, {override_key(word) for word in overrides}, choices, [CONF])
    return cfg


def config_folders(settings: DictConfig) -> list[Path]:
    """The folders of a command's options: the project's, and that of --config-dir. settings: Hydra's own."""
    sources = [source.path for source in settings.runtime.config_sources if source.schema == "file"]
    return [Path(path) for path in sources]


def recorded_words() -> list[str]:
    """The running command as a run records it: its overrides, and --config-dir if it was given."""
    settings = HydraConfig.get()
    own = [source.path for source in settings.runtime.config_sources if source.provider == "command-line"]
    return [*(f"--config-dir={path}" for path in own), *settings.overrides.task]


def _resolve_key(cfg: DictConfig, key: str) -> None:
    """Replace an interpolation that Hydra resolves only while a command runs."""
    state = HydraConfig.instance()
    before = state.cfg
    state.set_config(cfg)
    try:
        if key in cfg:
            cfg[key] = cfg[key]
    finally:
        state.cfg = before
        OmegaConf.set_readonly(cfg.hydra, False)


def instantiate(node: DictConfig | None, key: str, *args, **kwargs) -> Any:
    """The object that a config node describes; None for no node.

    key: the node's name, for the error. Raises InputError if the constructor refuses its arguments.
    """
    if node is None:
        return None
    missing = f"{key} has no _target_, the class that it is made of: select an option that has one, see --help"
    require("_target_" in node, missing)
    if (target := current_target(node._target_)) != node._target_:
        node = OmegaConf.merge(node, {"_target_": target})
    if PACKAGE != "src":
        node = OmegaConf.create(with_import_paths(to_plain(node)))
    try:
        return hydra.utils.instantiate(node, *args, **kwargs, _convert_="all")
    except HydraException as error:
        cause = error.__cause__
        if isinstance(cause, InputError):
            raise cause from None
        if located := re.search(r"Error (?:locating|loading) '?(?:target )?'([\w.]+)'", str(error)):
            find_object(located[1], f"{key}: {located[1]}")
        message = message_line(cause or error)
        raise InputError(f"{key}: {node.get('_target_', '')} refused its arguments ({message})") from error


def to_plain(node: DictConfig) -> Any:
    """A resolved config as dicts, lists, texts and numbers."""
    return OmegaConf.to_container(node, resolve=True)
