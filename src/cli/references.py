"""What init_from, loss.teacher and resume_from stand for on a command line: files, experiments, recorded commands."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from src.cli.feedback_mix import add_mix, add_renewal
from src.cli.overrides import (
    OF_AN_OPTION,
    flags_first,
    hydra_literal,
    is_sweep_override,
    override_key,
    override_value,
    replace_override,
)
from src.cli.targets import network_option
from src.errors import InputError, printable, require
from src.files import OUTPUTS
from src.model_files.locate import find_checkpoint
from src.model_files.trust import trusted

NOT_WITH_RESUME = ("-m", "--multirun", "hydra.run.dir", "hydra.sweep", "hydra.output_subdir")


def resolve_overrides(words: Sequence[str]) -> list[str]:
    """The words of `src.train` with references replaced by what they stand for; nothing else changes.

    resume_from: becomes the run's recorded command in its own folder, followed by the words given beside it.
    scenario: adds experiment=continual unless an experiment is given.
    data=feedback: adds scenario=renewal and continual=rehearsal unless a scenario is given.
    init_from, loss.teacher: become the path of the file, so that the run records which one it was; init_from also adds
    experiment=finetune unless there is another, the network's name for the run's folder, and with data=feedback
    what the network was trained on. Several values are left as they are: each job resolves its own.
    Raises InputError if there is no such run or file, or resume_from comes with a sweep or another folder.
    """
    if override_value(words, "resume_from"):
        return _recorded_command(words)
    words = list(words)
    if not any(word.startswith("experiment=") for word in words):
        if override_value(words, "scenario") not in (None, "none"):
            words = ["experiment=continual", *words]
        elif override_value(words, "init_from"):
            words = ["experiment=finetune", *words]
    words = add_renewal(words)
    for key in ("init_from", "loss.teacher"):
        value = override_value(words, key)
        if value and not any(override_key(word) == key and is_sweep_override(word) for word in words):
            path = find_checkpoint(value, OUTPUTS, key=key, tell=_print_note)
            words = replace_override(words, key, path.resolve())
            words = _describe_source(words, path) if key == "init_from" else words
    return flags_first(words)


def _describe_source(words: Sequence[str], path: Path) -> list[str]:
    """The words with what the network of init_from brings to them beside its weights."""
    with trusted(_typed_trust(words)):
        words = add_mix(words, path)
        named = {override_key(word) for word in words} & {"run_name", "hydra.run.dir", "-m", "--multirun"}
        network = None if named else _network_of(path)
    return [*words, f"run_name={network}_${{hydra:runtime.choices.data}}"] if network else words


def _network_of(path: Path) -> str | None:
    """The option of the network in a file; None for a file that cannot be read, which the job reports."""
    from src.model_files.load import load_predictor

    try:
        return network_option(load_predictor(path).config["model"]["_target_"])
    except InputError:
        return None


def _typed_trust(words: Sequence[str]) -> Any:
    """The value of the key trust, before Hydra parses it."""
    value = override_value(words, "trust") or "null"
    return OmegaConf.to_container(OmegaConf.from_dotlist([f"trust={value}"]))["trust"]  # type: ignore[index, call-overload]


def _print_note(line: str) -> None:
    """For a terminal: the run's log is not open yet, and the output may be that of --cfg."""
    print(printable(line), file=sys.stderr, flush=True)


def _recorded_command(words: Sequence[str]) -> list[str]:
    """The command that the checkpoint of resume_from records, in the folder of that run, plus the other words."""
    reference = override_value(words, "resume_from")
    added = [word for word in words if override_key(word) != "resume_from"]
    refused = [word for word in added if word.startswith(NOT_WITH_RESUME)]
    require(not refused, f"resume_from={reference} resumes one run in its own folder: leave {' '.join(refused)} out")

    from src.model_files.checkpoint import read_checkpoint

    path = find_checkpoint(reference, OUTPUTS, "last.ckpt", "resume_from").resolve()
    recorded = read_checkpoint(path)["config"].get("overrides")
    advice = "it was made in Python: resume it there, with the same overrides and resume_from"
    require(recorded is not None, f"resume_from={reference}: this run does not record its command; {advice}")
    for group in OF_AN_OPTION:
        typed, before = override_value(added, group), override_value(recorded, group)
        same = typed in (None, before)
        require(same, f"resume_from={reference}: the run has {group}={before or 'none'}: leave {group}={typed} out")
    # A file names neither what is trusted nor anything of Hydra itself, whose nodes make objects before a check.
    kept = [word for word in recorded if not override_key(word).startswith(("resume_from", "trust", "hydra"))]
    pinned = [f"resume_from={hydra_literal(path)}", f"hydra.run.dir={hydra_literal(path.parents[1])}"]
    return flags_first([*kept, *added, *pinned, "hydra.output_subdir=null"])  # `JobRecord` writes the config
