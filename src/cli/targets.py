"""Classes of the user's own on a command line: keys beside a typed `_target_`, and what the replaced option leaves."""

import inspect
import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from src.cli.overrides import override_key
from src.errors import printable
from src.model_files.renamed import current_target
from src.model_files.trust import find_object

log = logging.getLogger(__name__)
OURS = "src.models."
ONE_CLASS = ("model", "augment", "loss", "optimizer", "scheduler")  # groups whose option is one class and its arguments


def with_open_nodes(words: Sequence[str]) -> list[str]:
    """The words, with ++ where they name a class by `_target_` or stand beside one: its keys are in no option file.

    `metrics.auroc._target_=...` adds a node, and `scheduler._target_=... scheduler.T_max=10` a key to one.
    """
    keys = [override_key(word) for word in words]
    nodes = {key.removesuffix("_target_") for key in keys if key.endswith("._target_")}
    inner = {key for key, word in zip(keys, words, strict=True) if "_target_" in word.partition("=")[2]}

    def opens(word: str, key: str) -> bool:
        beside = key in inner and ("." in key or key == "metrics")
        return word[:1] not in "+~-" and (beside or any(key.startswith(node) for node in nodes))

    return [f"++{word}" if opens(word, key) else word for word, key in zip(words, keys, strict=True)]


def drop_replaced_keys(cfg: DictConfig, typed: Collection[str], choices: Mapping, folders: Sequence[Path]) -> None:
    """Where a node's `_target_` is another than its option's, remove the option's keys that the new class lacks; of an
    augmentation all of them.

    typed: keys of the command line, which stay in any case. choices: the option of each group; folders: where they
    stand. Says what stays and what goes. Raises InputError for a class that cannot be imported.
    """
    _drop_experiment_keys(cfg, typed, choices, folders)
    for group in ONE_CLASS:
        node, option = cfg.get(group), _option(group, choices.get(group), folders)
        if not isinstance(node, DictConfig) or not node.get("_target_") or not option.get("_target_"):
            continue
        target = current_target(str(node._target_))
        if target == current_target(option._target_):
            continue
        names, _ = accepted_arguments(find_object(target, f"{group}._target_={printable(target, 200)}"))
        left = [key for key, value in option.items() if str(key)[:1] != "_" and node.get(key, ...) == value]
        left = [key for key in left if f"{group}.{key}" not in typed]
        # Augmentations share words and not their meanings: scale is a change of size here, a pair of factors there.
        dropped = [key for key in left if key not in names or group == "augment"]
        with open_dict(cfg):
            for key in dropped:
                del node[key]
        if not left:
            continue
        kept = ", ".join(f"{key}={node[key]}" for key in left if key not in dropped)
        note = f"of its keys these stay: {kept}" if kept else "none of its keys stays"
        log.info("%s=%s is replaced by %s; %s", group, choices[group], target.rpartition(".")[2], note)


def _drop_experiment_keys(cfg: DictConfig, typed: Collection[str], choices: Mapping, folders: Sequence[Path]) -> None:
    """Of a group whose option was typed, remove the keys that an experiment set for another option and this one lacks.

    `experiment=lenet augment=none` is that recipe without augmentation, not an error about its angle.
    """
    left_out = []
    for group in {*ONE_CLASS, "finetune"} & {*typed}:
        node, option = cfg.get(group), _option(group, choices.get(group), folders)
        own = option.get(group, option)  # a global option has its node inside
        if not isinstance(node, DictConfig) or not node.get("_target_") or not own.get("_target_"):
            continue  # a node that was typed as a whole has no option
        added = [key for key in node if str(key)[:1] != "_" and key not in own and f"{group}.{key}" not in typed]
        names, open_ended = accepted_arguments(find_object(str(node._target_), group)) if added else ([], True)
        left_out += [f"{group}.{key}" for key in added if key not in names and not open_ended]
    if "callbacks" in typed and isinstance(cfg.get("callbacks"), DictConfig):
        for name, node in cfg.callbacks.items():
            was_typed = any(key.startswith(f"callbacks.{name}.") for key in typed)
            if isinstance(node, DictConfig) and "_target_" not in node and not was_typed:
                left_out.append(f"callbacks.{name}")
    with open_dict(cfg):
        for key in left_out:
            group, _, name = key.partition(".")
            del cfg[group][name]
    if left_out:
        log.info(
            "experiment=%s: left out, of other options: %s", choices.get("experiment"), ", ".join(sorted(left_out))
        )


def accepted_arguments(function: Any) -> tuple[list[str], bool]:
    """The names of the arguments that a class or function takes, and whether it takes any other as well."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some of C have none
        return [], True
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in parameters if p.kind in named], any(p.kind == p.VAR_KEYWORD for p in parameters)


def network_option(target: str) -> str:
    """The option of the group model that a class is, lenet of src.models.lenet.LeNet; else the class's name."""
    module, _, name = current_target(target).rpartition(".")
    return module.removeprefix(OURS) if module.startswith(OURS) else name


def recorded_option(target: str, choice: object, folders: Sequence[Path]) -> str:
    """What a run records as its option of the group model: the choice where `target` is its class, else the class's.

    folders: where options stand.
    """
    chosen = _option("model", choice, folders).get("_target_", "")
    return str(choice) if current_target(str(chosen)) == target else network_option(target)


def _option(group: str, choice: object, folders: Sequence[Path]) -> DictConfig:
    files = [folder / group / f"{choice}.yaml" for folder in folders]
    file = next((file for file in files if file.is_file()), None)
    content = OmegaConf.load(file) if file is not None else None
    return content if isinstance(content, DictConfig) else OmegaConf.create()
