"""The words of a command line, before Hydra parses them."""

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, QuotedString
from omegaconf import OmegaConf

from src.errors import InputError, printable, require
from src.files import display_path
from src.model_files.renamed import PACKAGE
from src.pictures.file_types import SUFFIXES

# Keys that mixed corrections with old images before continual=rehearsal did.
MOVED = {"data.replay": "continual.old", "data.share": "continual.share", "data.repeats": "continual.repeats"}
OF_AN_OPTION = ("scenario", "continual")  # groups without an option by default: their keys are those of an option
# Groups whose options each describe one object: Hydra would merge the keys of two.
OF_ONE_OPTION = (
    "data", "augment", "model", "loss", "optimizer", "scheduler", "trainer", "finetune", "scenario", "continual",
    "dashboard",
)  # fmt: skip
CONFIG_FLAGS = ("--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd")  # configs from outside conf/
VALUED_FLAGS = ("--cfg", "-c", "--package", "-p", *CONFIG_FLAGS, "-sc")
INFO_FLAGS = ("--cfg", "-c", "--info", "-i", "--hydra-help", "--version", "-sc", "--shell-completion")


def split_flags(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Hydra's flags with their values, and the overrides."""
    flags: list[str] = []
    overrides: list[str] = []
    rest = iter(words)
    for word in rest:
        if word.startswith("-"):
            flag, equals, value = word.partition("=")
            if equals and flag in CONFIG_FLAGS:
                flags += [flag, value]
            else:
                flags += [word, *([next(rest, "")] if word in VALUED_FLAGS else [])]
        else:
            overrides.append(word)
    return flags, overrides


def flags_first(words: Sequence[str]) -> list[str]:
    """Hydra's flags before the overrides, wherever they were typed: argparse accepts no other order."""
    flags, overrides = split_flags(words)
    return [*flags, *overrides]


def expand_home(word: str) -> str:
    """An override with ~ at the start of its paths as the home folder: shells expand it only at a word's beginning."""
    key, equals, value = word.partition("=")
    if "'" in value or '"' in value:
        return word
    in_list = r"(?<![^,\[])~(?:/[^,\]]*)?(?=[,\]]|$)"
    return key + equals + re.sub(in_list, lambda match: hydra_literal(os.path.expanduser(match[0])), value)


def override_key(word: str) -> str:
    """The key of an override: `optimizer.lr` of `+optimizer.lr=0.1`."""
    return word.lstrip("+~").partition("=")[0]


def override_value(words: Sequence[str], key: str) -> str | None:
    """The last value given to `key`, as the text that Hydra makes of it; None where it is absent, empty or null."""
    values = [word.partition("=")[2] for word in words if override_key(word) == key]
    return _unquoted(values[-1]) or None if values and values[-1] not in ("", "null") else None


def replace_override(words: Sequence[str], key: str, value: object) -> list[str]:
    """The words with `key` set to `value`, and every earlier value of it removed."""
    return [*(word for word in words if override_key(word) != key), f"{key}={hydra_literal(value)}"]


def is_sweep_override(word: str) -> bool:
    """Whether an override gives several values; False if Hydra cannot parse it."""
    try:
        return OverridesParser.create().parse_override(word).is_sweep_override()
    except Exception:  # whatever it is, Hydra reports it when it parses the whole command
        return False


def hydra_literal(value: object) -> str:
    """A plain value or a path in the grammar of Hydra's overrides; a text without quotes where it needs none."""
    if value is None:
        return "null"
    if isinstance(value, bool | int | float):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(hydra_literal, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{hydra_literal(entry)}" for key, entry in value.items()) + "}"
    text = str(value)
    word = re.fullmatch(r"[\w./-]*/[\w./-]*|[a-z_][\w.-]*", text, re.ASCII | re.IGNORECASE)
    if word and text.lower() not in ("null", "true", "false", "inf", "nan"):
        return text
    text = re.sub(r"(\\*)\$\{", lambda m: m[1] * 2 + "\\${", text)  # no interpolation
    # Within quotes a backslash escapes only where it stands before a quote.
    return "'" + re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), text) + "'"


def shell_override(key: str, text: str) -> str:
    """`key=text` as a user types it into a shell, quoted where Hydra or the shell needs it."""
    if re.fullmatch(r"[\w./*?~-]+", text, re.ASCII):
        return f"{key}={text}"
    return _in_shell(f"{key}={hydra_literal(text)}")


def quoted_override(key: str, value: str) -> str | None:
    """An override that Hydra cannot parse as a user types it, its text or the texts of its list in quotes.

    None for an empty value, one with quotes of its own, and one that is no better in quotes.
    """
    if value[:1] in ("", "'", '"'):
        return None
    if value[:1] not in "[{":
        return shell_override(key, value)
    word = key + "=" + re.sub(r"[^][{},:]+", lambda match: _quoted_where_needed(match[0]), value)
    try:
        OverridesParser.create().parse_override(word)
    except Exception:
        return None
    return _in_shell(word)


def _quoted_where_needed(text: str) -> str:
    try:
        OverridesParser.create().parse_override(f"key={text}")
        return text
    except Exception:
        return hydra_literal(text.strip())


def _in_shell(word: str) -> str:
    readable = "'" in word and not re.search(r'["$`\\!]', word)
    return f'"{word}"' if readable else shlex.quote(word)


def _unquoted(text: str) -> str:
    """The text that an override's value stands for; as it is where Hydra would refuse it, as an unquoted C:\\it's."""
    try:
        value = OverridesParser.create().parse_override(f"key={text}").value()
    except Exception:
        return text
    if not isinstance(value, str | QuotedString):
        return text
    return str(OmegaConf.create({"key": str(value)}).key)


def has_blank_text(text: str) -> bool:
    """Whether an override's value is a text of no signs but spaces, or a list or several values with one."""
    try:
        value = OverridesParser.create().parse_override(f"key={text}").value()
    except Exception:  # whatever it is, Hydra reports it
        return False
    entries = value.list if isinstance(value, ChoiceSweep) else value if isinstance(value, list) else [value]
    texts = [entry.text if isinstance(entry, QuotedString) else entry for entry in entries]
    return any(isinstance(text, str) and not text.strip() for text in texts)


def command_text(verb: str, words: Sequence[str]) -> str:
    """A command as a user can paste it into a shell."""
    return printable(shlex.join(["python", "-m", f"{PACKAGE}.{verb}", *words]))


def trust_words(trust: object) -> list[str]:
    """The key `trust` with this value for a printed command; nothing for null or none."""
    names = [trust] if isinstance(trust, str) else [*trust] if isinstance(trust, Iterable) else []
    return [f"trust={hydra_literal(names)}"] if names else []


def command_on(path: Path, verb: str, key: str, *flags: str) -> str:
    """The command that takes a file or folder as `key`, as a user can paste it into a shell."""
    return command_text(verb, [*flags, f"{key}={hydra_literal(display_path(path))}"])


def config_groups(conf: Path, verb: str) -> dict[str, tuple[str | None, list[str]]]:
    """Each config group of a command: the option it defaults to, and all its options."""
    entries = [entry for entry in OmegaConf.load(conf / f"{verb}.yaml").defaults if entry != "_self_"]
    groups = {}
    for name, option in (pair for entry in entries for pair in entry.items()):
        if name != "hydra":
            options = sorted(file.stem for file in (conf / name).glob("*.yaml"))
            groups[name] = (option if option is None or isinstance(option, str) else ",".join(option), options)
    return groups


def check_overrides(conf: Path, verb: str, words: Sequence[str]) -> None:
    """Raise InputError for a word that is not key=value, a group that the command does not have, and output_dir."""
    flags, overrides = split_flags(words)
    own_configs = any(flag.partition("=")[0] in CONFIG_FLAGS for flag in flags)
    keys, groups = OmegaConf.load(conf / f"{verb}.yaml"), config_groups(conf, verb)
    for word in overrides:
        key, equals, value = word.partition("=")
        if not key or (not equals and not word.startswith("~")):
            hint = _suggestion(word, verb, keys, groups)
            raise InputError(f"{word or repr(word)} is not an override: type key=value{hint}")
        moved = MOVED.get(key.lstrip("+")) if verb == "train" else None
        require(moved is None, f"{word}: the method of continual learning has it, as {moved}={value}")
        require(key.lstrip("+") != "output_dir", f"output_dir={value}: give hydra.run.dir={value or '<folder>'}")
        part = key.lstrip("+").partition(".")[0]
        if verb == "train" and part in OF_AN_OPTION and "." in key and not own_configs:
            require(_is_chosen(part, overrides), f"{word}: of which {part}? Give {part}= as well; --help lists them")
        group = key.partition("@")[0]
        known = group in groups or group.startswith("hydra") or own_configs
        several = group in OF_ONE_OPTION and value.startswith("[") and "," in value and not own_configs
        require(not several, f"{word}: one option only; several runs need -m {group}={value.strip('[]')}")
        accepted = f"it has: {', '.join(groups)}" if groups else "it has none"
        require(known or not (conf / group).is_dir(), f"{word}: src.{verb} has no group {group}; {accepted}")


def _is_chosen(group: str, overrides: Sequence[str]) -> bool:
    """Whether an option of a group without a default one is given, directly or not."""
    keys = {override_key(word) for word in overrides}
    return bool(keys & {group, "experiment", "resume_from", "sweep.resume"}) or "data=feedback" in overrides


def _suggestion(word: str, verb: str, keys, groups: dict) -> str:
    group = next((name for name, (_, options) in groups.items() if word in options), None)
    if group:
        return f", as {group}={word}"
    if word in keys or word in groups:
        return f", as {word}=<value>"
    path = Path(word).expanduser()
    if not word.partition("=")[0] or not (path.exists() or path.suffix or "/" in word):
        return "; --help lists the keys"
    is_folder = path.is_dir() and not (path / "checkpoints").is_dir()
    if verb in ("predict", "explain") and (path.suffix.lower() in SUFFIXES or "*" in word or is_folder):
        return f", as {shell_override('images', word)}"
    return f", as {shell_override('ckpt', word)}" if "ckpt" in keys else "; --help lists the keys"
