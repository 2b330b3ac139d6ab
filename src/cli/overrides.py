"""The words of a command line, before Hydra reads them."""

from pathlib import Path

from omegaconf import OmegaConf

from src.errors import InputError, require

PLACES = ("--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd")  # other files than those of conf


VALUED_FLAGS = ("--cfg", "-c", "--package", "-p", *PLACES, "-sc")


PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")


def split(words: list[str]) -> tuple[list[str], list[str]]:
    """Hydra's flags with their values, and the overrides."""
    flags, overrides, rest = [], [], iter(words)
    for word in rest:
        if word.startswith("-"):
            flags += [word, *([next(rest, "")] if word in VALUED_FLAGS else [])]
        else:
            overrides.append(word)
    return flags, overrides


def flags_first(words: list[str]) -> list[str]:
    """Hydra's flags before the overrides, wherever they were typed: argparse takes them in no other order."""
    flags, overrides = split(words)
    return [*flags, *overrides]


def groups_of(conf: Path, verb: str) -> dict[str, tuple[str | None, list[str]]]:
    """Each group that a command takes: what it takes of it where nothing is said, and its options."""
    entries = [entry for entry in OmegaConf.load(conf / f"{verb}.yaml").defaults if entry != "_self_"]
    found = {}
    for name, option in (pair for entry in entries for pair in entry.items()):
        if name != "hydra":
            options = sorted(file.stem for file in (conf / name).glob("*.yaml"))
            found[name] = (option if option is None or isinstance(option, str) else ",".join(option), options)
    return found


def check_words(conf: Path, verb: str, words: list[str]) -> None:
    """Raise InputError for a word that is no key=value, a group that the command does not take, and output_dir."""
    flags, overrides = split(words)
    elsewhere = any(flag.partition("=")[0] in PLACES for flag in flags)
    known, groups = OmegaConf.load(conf / f"{verb}.yaml"), groups_of(conf, verb)
    for word in overrides:
        key, equals, value = word.partition("=")
        if not key or (not equals and not word.startswith("~")):
            meant = _meant(word, verb, known, groups)
            raise InputError(f"{word or repr(word)} alone says nothing: type keys as key=value{meant}")
        require(key.lstrip("+") != "output_dir", f"output_dir={value}: give hydra.run.dir={value or '<folder>'}")
        group = key.partition("@")[0]
        own = group in groups or group.startswith("hydra") or elsewhere
        taken = f"it takes: {', '.join(groups)}" if groups else "it takes none"
        require(own or not (conf / group).is_dir(), f"{word}: src.{verb} takes no group {group}; {taken}")


def _meant(word: str, verb: str, known, groups: dict) -> str:
    """What may have been meant, for the error."""
    option = next((name for name, (_, options) in groups.items() if word in options), None)
    if option:
        return f", as {option}={word}"
    if word in known or word in groups:
        return f", as {word}=<value>"
    path = Path(word).expanduser()
    if not word.partition("=")[0] or not (path.exists() or path.suffix or "/" in word):
        return "; --help lists them"
    shown = path.suffix.lower() in PICTURES or "*" in word or (path.is_dir() and not (path / "checkpoints").is_dir())
    if verb in ("predict", "explain") and shown:
        return f", as images={word}"
    return f", as ckpt={word}" if "ckpt" in known else "; --help lists them"
