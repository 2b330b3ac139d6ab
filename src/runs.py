"""Where earlier runs are; without torch, so that what is not there is said at once."""

from pathlib import Path

from src.errors import InputError


def find_checkpoint(given: str | None, outputs: Path, name: str = "best.ckpt", key: str = "ckpt") -> Path:
    """The checkpoint file that `given` means: a file, a run's folder, or `newest`, the last run written in `outputs`.

    name: which of a run's checkpoints. Raises InputError if there is none.
    """
    if not given:
        raise InputError(f"{key} is missing: give {key}=<run folder>, {key}=<file.ckpt> or {key}=newest")
    if not isinstance(given, str):
        raise InputError(f"{key}={given}: a run's folder, a file or newest, as text")
    if "://" in given:
        raise InputError(f"{key}={given}: addresses are not loaded; download the file and give its path")
    if given == "newest":
        found = sorted(outputs.glob(f"**/checkpoints/{name}"), key=lambda path: path.stat().st_mtime)
        if not found:
            raise InputError(
                f"{key}=newest: no run in {outputs} has a checkpoints/{name}; train one with python -m src.train"
            )
        return found[-1]
    path = Path(given).expanduser()
    if path.is_dir():
        inside = [path / "checkpoints" / name, path / name]
        path = next((file for file in inside if file.is_file()), inside[0])
    if not path.is_file():
        jobs = sorted(folder.name for folder in Path(given).glob("*") if (folder / "checkpoints" / name).is_file())
        hint = f"; give one of its runs: {', '.join(jobs[:12])}" if jobs else ""
        hint = hint or f"; give {key}=<run folder>, {key}=<file.ckpt> or {key}=newest"
        raise InputError(f"{key}={given}: there is no file {path}{hint}")
    return path
