"""Where earlier runs are; without torch, so that what is not there is said at once.

`newest` is the network that was made last in outputs/: a checkpoints/best.ckpt, of src.train or of src.compress, and
for commands that need no weights to train or look into (evaluate, predict, serve) also an int8.onnx of src.compress.
What src.export wrote never counts: it is a network in another form, no newer one.
"""

from pathlib import Path

from src.errors import InputError

EXPORTED = (".onnx", ".pt2", ".safetensors")  # what src.export writes
INT8 = "int8.onnx"  # what src.compress method=int8 writes


def find_checkpoint(
    given: str | None, outputs: Path, name: str = "best.ckpt", key: str = "ckpt", int8: bool = False
) -> Path:
    """The checkpoint file that `given` means: a file, a run's folder, or `newest`, the one written last in `outputs`.

    name: which of a run's checkpoints; for best.ckpt an exported file will do, or a folder that holds one. int8: take
    a network in 8 bits as the newest, too. Raises InputError if there is none.
    """
    if not given:
        raise InputError(f"{key} is missing: give {key}=<run folder>, {key}=<file.ckpt> or {key}=newest")
    if not isinstance(given, str):
        raise InputError(f"{key}={given}: a run's folder, a file or newest, as text")
    if "://" in given:
        raise InputError(f"{key}={given}: addresses are not loaded; download the file and give its path")
    if given == "newest":
        kinds = [f"checkpoints/{name}", *([INT8] if int8 else [])]
        found = [path for kind in kinds for path in outputs.glob(f"**/{kind}")]
        if not found:
            raise InputError(
                f"{key}=newest: no run in {outputs} has a {' or an '.join(kinds)}; train one with python -m src.train, "
                f"or give {key}=<file>"
            )
        return max(found, key=lambda path: path.stat().st_mtime)
    path = Path(given).expanduser()
    if path.is_dir():
        inside = [path / "checkpoints" / name, path / name]
        path = next((file for file in inside if file.is_file()), None) or _exported(path, given, key) or inside[0]
    if not path.is_file():
        jobs = sorted(folder.name for folder in Path(given).glob("*") if (folder / "checkpoints" / name).is_file())
        hint = f"; give one of its runs: {', '.join(jobs[:12])}" if jobs else ""
        hint = hint or f"; give {key}=<run folder>, {key}=<file.ckpt> or {key}=newest"
        raise InputError(f"{key}={given}: there is no file {path}{hint}")
    if path.suffix.lower() in EXPORTED and name != "best.ckpt":
        raise InputError(f"{key}={given}: an exported file has no {name} to go on from; give the run that it came from")
    return path


def _exported(folder: Path, given: str, key: str) -> Path | None:
    """The one exported file of a folder, or None. Raises InputError if there are several."""
    found = sorted(file for file in folder.iterdir() if file.suffix.lower() in EXPORTED and file.is_file())
    if len(found) > 1:
        raise InputError(f"{key}={given}: there are several; give one: {', '.join(map(str, found[:8]))}")
    return found[0] if found else None
