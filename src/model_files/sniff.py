"""Model files told apart by their content, not by their name; without torch."""

import io
import zipfile
from pathlib import Path

from src.errors import InputError, require
from src.model_files.locate import EXPORTED

FORMAT_NAMES = {
    ".ckpt": "a checkpoint",
    ".onnx": "an ONNX file",
    ".pt2": "an archive of torch.export",
    ".safetensors": "a safetensors file",
}
MAX_BYTES = 1 << 30  # of an exported file


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


def read_model_file(path: Path | str, max_bytes: int | None = MAX_BYTES) -> bytes:
    """The bytes of a model file.

    Raises InputError for a URL, a file that cannot be read, is empty or has more than `max_bytes`, and for one whose
    content does not go with its suffix; a checkpoint may have any suffix that no exported file has.
    """
    if "://" in str(path):
        raise InputError(f"ckpt={path}: URLs are not loaded; download the file and give its path")
    path = Path(path)
    try:
        size = path.stat().st_size
        if max_bytes is not None:
            require(size <= max_bytes, f"ckpt={path} has {size:,} bytes: files of up to {max_bytes:,} are read")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"ckpt={path} cannot be read ({error.strerror})") from None
    require(len(content) > 0, f"ckpt={path} is empty: it has 0 bytes")
    found, suffix = sniff_suffix(content), path.suffix.lower()
    if found and found != (suffix if suffix in EXPORTED else ".ckpt"):
        raise InputError(f"ckpt={path} is {FORMAT_NAMES[found]} by its content: give it a name that ends in {found}")
    return content
