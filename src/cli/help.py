"""What --help prints: a command's own groups and keys, from its file in conf/."""

import re
from pathlib import Path

from src.cli.overrides import config_groups

HELP_FLAGS = ("-h", "--help")


def help_text(conf: Path, verb: str) -> str:
    """A command's purpose, its groups with their options, and its keys with their comments."""
    head, _, body = (conf / f"{verb}.yaml").read_text(encoding="utf-8").partition("defaults:\n")
    entries, _, body = body.partition("\n\n")
    lines = [*(line.removeprefix("# ") for line in head.splitlines()), "", *_group_lines(conf, verb, entries)]
    lines.append(f"Keys, each as key=value (conf/{verb}.yaml):")
    for block in body.strip().split("\n\n"):
        rows = [line for line in block.splitlines() if not re.match(r"\s*_target_:|output_dir:", line)]
        if not block.startswith("hydra:") and not re.fullmatch(r"model:.*", "\n".join(rows)):
            lines += [*(f"  {line}" for line in rows), ""]
    if verb == "train":
        lines.append("-m runs every combination of key=a,b; see conf/hydra/sweeper and conf/hydra/launcher.")
    lines.append("hydra.run.dir=<folder> sets the folder for results; the default is a new one in outputs/.")
    return "\n".join([*lines, "--cfg job prints the composed config, --hydra-help Hydra's own flags."])


def _group_lines(conf: Path, verb: str, entries: str) -> list[str]:
    """The groups of a command, one line each. entries: the lines of its defaults list, with their comments."""
    groups = config_groups(conf, verb)
    if not groups:
        return []
    comments = dict(re.findall(r"^  - (\w+):.*?# (.+)$", entries, re.MULTILINE))
    width = max(map(len, groups))
    lines = ["Groups, each as group=option:"]
    for name, (default, options) in groups.items():
        notes = "; ".join(filter(None, [f"default: {default}" if default else "", comments.get(name)]))
        lines.append(f"  {name:<{width}}  {', '.join(options)}{f'  ({notes})' if notes else ''}")
    name, first = next((name, options[0]) for name, (_, options) in groups.items())
    lines += ["", "conf/<group>/<option>.yaml describes the keys of an option; this prints their values:"]
    return [*lines, f"  python -m src.{verb} {name}={first} --cfg job", ""]
