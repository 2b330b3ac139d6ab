"""The file that ckpt=<run folder, file or newest> stands for; without torch, so that a wrong one is reported at once.

`newest` is the last network written into outputs/: a checkpoints/best.ckpt of src.train or src.compress, and for
commands that need no weights to train or explain (evaluate, predict, serve) also an int8.onnx of src.compress. Files
of src.export do not count: they hold a network that is there already.
"""

from pathlib import Path

from src.errors import InputError, text

EXPORTED = (".onnx", ".pt2", ".safetensors")  # what src.export writes


def find_checkpoint(
    reference: str | None, outputs: Path, name: str = "best.ckpt", key: str = "ckpt", int8: bool = False
) -> Path:
    """The checkpoint that `reference` means: a file, a run's folder, or `newest`, the last one written in `outputs`.

    name: which of a run's checkpoints; instead of best.ckpt also an exported file, or a folder that holds one. key: of
    the config, for errors. int8: whether `newest` may be a network in 8 bits. Raises InputError if there is none.
    """
    if not reference:
        raise InputError(f"{key} is missing: give {_accepted(key)}")
    text(key, reference, "a run's folder, a file or newest")
    if "://" in reference:
        raise InputError(f"{key}={reference}: URLs are not loaded; download the file and give its path")
    if reference == "newest":
        return _newest(outputs, name, key, int8)
    path = Path(reference).expanduser()
    if path.is_dir():
        inside = [path / "checkpoints" / name, path / name]
        path = next((file for file in inside if file.is_file()), None) or _exported_file(path, key) or inside[0]
    if not path.is_file():
        runs = sorted(folder.name for folder in Path(reference).glob("*") if (folder / "checkpoints" / name).is_file())
        accepted = f"one of its runs: {', '.join(runs[:12])}" if runs else _accepted(key)
        raise InputError(f"{key}={reference}: there is no file {path}; give {accepted}")
    if path.suffix.lower() in EXPORTED and name != "best.ckpt":
        raise InputError(f"{key}={reference}: an exported file has no {name} to resume; give the run that it came from")
    return path


def _accepted(key: str) -> str:
    return f"{key}=<run folder>, {key}=<file.ckpt> or {key}=newest"


def _newest(outputs: Path, name: str, key: str, int8: bool) -> Path:
    patterns = [f"checkpoints/{name}", *(["int8.onnx"] if int8 else [])]
    found = [path for pattern in patterns for path in outputs.glob(f"**/{pattern}")]
    if not found:
        raise InputError(
            f"{key}=newest: no run in {outputs} has a {' or an '.join(patterns)}; train one with python -m src.train, "
            f"or give {key}=<file>"
        )
    return max(found, key=lambda path: path.stat().st_mtime)


def _exported_file(folder: Path, key: str) -> Path | None:
    """The exported file of a folder, or None. Raises InputError if there are several."""
    found = sorted(file for file in folder.iterdir() if file.suffix.lower() in EXPORTED and file.is_file())
    if len(found) > 1:
        raise InputError(f"{key}={folder} holds several exported files; give one: {', '.join(map(str, found[:8]))}")
    return found[0] if found else None
