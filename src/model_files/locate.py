"""The file that ckpt=<run or sweep folder, file or newest> stands for, and its bytes, told apart by their content.

No torch here, so that a wrong file is reported at once.
The folder of a sweep is its best run by validation.
`newest` is the last network written into outputs/: a checkpoints/best.ckpt of src.train or src.compress, and for
commands that need no weights to train or explain (evaluate, predict, serve) also an int8.onnx of src.compress. Files
of src.export do not count: they hold a network that is there already.
"""

import io
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path

from src.errors import InputError, require, text
from src.files import display_path, read_regular
from src.model_files.best_run import find_best_run, is_sweep

log = logging.getLogger(__name__)

EXPORTED = (".onnx", ".pt2", ".safetensors")  # what src.export writes
FORMAT_NAMES = {
    ".ckpt": "a checkpoint",
    ".onnx": "an ONNX file",
    ".pt2": "an archive of torch.export",
    ".safetensors": "a safetensors file",
}


def find_checkpoint(
    reference: str | None,
    outputs: Path,
    name: str = "best.ckpt",
    key: str = "ckpt",
    int8: bool = False,
    tell: Callable[[str], object] = log.info,
) -> Path:
    """The checkpoint that `reference` means: a file, a run's folder, or `newest`, the last one written in `outputs`.

    name: which of a run's checkpoints; instead of best.ckpt also an exported file, a folder that holds one, or that of
    a sweep, which means its best run. key: of the config, for errors. int8: whether `newest` may be a network in 8
    bits. tell: called with a line about which run of a sweep was taken. Raises InputError if there is none.
    """
    if not reference:
        raise InputError(f"{key} is missing: give {_accepted(key)}")
    text(key, reference, "a run's folder, a file or newest")
    if "://" in reference:
        raise InputError(f"{key}={reference}: URLs are not loaded; download the file and give its path")
    if reference == "newest":
        path = _newest(outputs, name, key, int8)
        if is_sweep(path.parents[2]):
            tell(f"{key}=newest: {_place_in_sweep(path.parents[1], key)}")
        return path
    path = Path(reference).expanduser()
    if is_sweep(path) and name == "best.ckpt":
        best = find_best_run(path)
        path, score = best.folder, f"{best.metric} ({best.score:.4g})"
        tell(f"{key}={reference}: run {path.name}, the best of {best.finished} by {score}")
    if path.is_dir():
        inside = [path / "checkpoints" / name, path / name]
        path = next((file for file in inside if file.is_file()), None) or _exported_file(path, key) or inside[0]
    if not path.is_file():
        runs = sorted(folder.name for folder in Path(reference).glob("*") if (folder / "checkpoints" / name).is_file())
        accepted = f"one of its runs: {', '.join(runs[:12])}" if runs else _accepted(key)
        missing = f"file {path}" if path != Path(reference) else "such file or folder"
        raise InputError(f"{key}={reference}: there is no {missing}; give {accepted}")
    if path.suffix.lower() in EXPORTED and name != "best.ckpt":
        raise InputError(f"{key}={reference}: an exported file has no {name} to resume; give the run that it came from")
    return path


def _accepted(key: str) -> str:
    return f"{key}=<run folder>, {key}=<file.ckpt> or {key}=newest"


def _place_in_sweep(run: Path, key: str) -> str:
    """Which run of a sweep `newest` is, and what its best run is."""
    line = f"run {run.name} of the sweep {display_path(run.parent)}, the last one written"
    try:
        best = find_best_run(run.parent)
    except InputError:  # a sweep that is not over
        return line
    other = f"is run {best.folder.name}: {key}={display_path(run.parent)}"
    return f"{line}; the best by {best.metric} {'too' if best.folder.name == run.name else other}"


def _newest(outputs: Path, name: str, key: str, int8: bool) -> Path:
    patterns = [f"checkpoints/{name}", *(["int8.onnx"] if int8 else [])]
    found = [path for pattern in patterns for path in outputs.glob(f"**/{pattern}")]
    if not found:
        advice = f"train one with python -m src.train, or give {key}=<file>"
        raise InputError(f"{key}=newest: no run in {outputs.resolve()} has a {' or an '.join(patterns)}; {advice}")
    return max(found, key=lambda path: path.stat().st_mtime)


def _exported_file(folder: Path, key: str) -> Path | None:
    found = sorted(file for file in folder.iterdir() if file.suffix.lower() in EXPORTED and file.is_file())
    if len(found) > 1:
        raise InputError(f"{key}={folder} holds several exported files; give one: {', '.join(map(str, found[:8]))}")
    return found[0] if found else None


def sniff_suffix(content: bytes) -> str | None:
    """The suffix of the format that `content` begins as; None for no format of ours."""
    if content.startswith(b"PK"):
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                names = archive.namelist()
        except Exception:  # zipfile raises many kinds for a damaged archive
            return None
        if any(name.endswith("/archive_format") for name in names):
            return ".pt2"
        return ".ckpt" if any(name.endswith("/data.pkl") for name in names) else None
    if content[8:9] == b"{" and 2 <= int.from_bytes(content[:8], "little") <= len(content) - 8:
        return ".safetensors"
    # A protocol buffer: first the version of the format, then the producer's name or the graph.
    return ".onnx" if content[:1] == b"\x08" and content[2:3] in (b"\x12", b":") else None


def read_model_file(path: Path | str, max_bytes: int | None = 1 << 30) -> bytes:
    """The bytes of a model file.

    Raises InputError for a URL, a file that cannot be read, is empty or has more than `max_bytes`, and for one whose
    content does not go with its suffix; a checkpoint may have any suffix that no exported file has.
    """
    if "://" in str(path):
        raise InputError(f"{path}: URLs are not loaded; download the file and give its path")
    path = Path(path)
    try:
        size = path.stat().st_size
        if max_bytes is not None:
            require(size <= max_bytes, f"{path} has {size:,} bytes: files of up to {max_bytes:,} are read")
        content = read_regular(path, size)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    require(len(content) > 0, f"{path} is empty: it has 0 bytes")
    found, suffix = sniff_suffix(content), path.suffix.lower()
    if found and found != (suffix if suffix in EXPORTED else ".ckpt"):
        raise InputError(f"{path} is {FORMAT_NAMES[found]} by its content: give it a name that ends in {found}")
    return content
