"""The command line before Hydra reads it: what --help prints, and words that are no override, in one line each."""

import re
from pathlib import Path

from src.cli.overrides import groups_of

HELP = ("-h", "--help")


def manual(conf: Path, verb: str) -> str:
    """What a command is for, the groups it takes and the text of its own file, which describes every key."""
    about, _, body = (conf / f"{verb}.yaml").read_text().partition("defaults:\n")
    entries, _, body = body.partition("\n\n")
    usage = [line.removeprefix("# ") for line in about.splitlines()]
    notes = dict(re.findall(r"^  - (\w+):.*?# (.+)$", entries, re.MULTILINE))
    lines = [*usage, ""]
    groups = groups_of(conf, verb)
    if groups:
        width = max(map(len, groups))
        lines.append("Groups, each as group=option:")
        for name, (taken, options) in groups.items():
            more = [f"{taken} if none is given", notes.get(name)] if taken else [notes.get(name)]
            said = "; ".join(filter(None, more))
            lines.append(f"  {name:<{width}}  {', '.join(options)}{f'  ({said})' if said else ''}")
        name, first = next((name, options[0]) for name, (_, options) in groups.items())
        lines += ["", "The keys of a group's option are described in conf/<group>/<option>.yaml; as they are now:"]
        lines += [f"  python -m src.{verb} {name}={first} --cfg job", ""]
    lines.append(f"Keys, each as key=value (conf/{verb}.yaml):")
    for part in body.strip().split("\n\n"):
        kept = [line for line in part.splitlines() if not re.match(r"\s*_target_:|output_dir:", line)]
        if not part.startswith("hydra:") and not re.fullmatch(r"model:.*", "\n".join(kept)):
            lines += [*(f"  {line}" for line in kept), ""]
    folder = "hydra.run.dir=<folder> says where results go; a new folder in outputs/ otherwise."
    more = ["-m runs every combination of key=a,b; see conf/hydra/sweeper and conf/hydra/launcher."]
    lines += [*(more if verb == "train" else []), folder]
    return "\n".join([*lines, "--cfg job prints the composed config, --hydra-help Hydra's own flags."])
