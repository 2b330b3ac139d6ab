"""What a model file is, told by its bytes and not by its name; without torch."""

import io
import zipfile
from pathlib import Path

from src.errors import InputError
from src.model_files.locate import EXPORTED

NAMES = {".ckpt": "a checkpoint", ".onnx": "an ONNX file", ".pt2": "an archive of torch.export"}
NAMES |= {".safetensors": "a safetensors file"}


def sniff_suffix(content: bytes) -> str | None:
    """The suffix that files like this one have; None for what none of them begins as."""
    if content.startswith(b"PK"):
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                names = archive.namelist()
        except Exception:  # of many kinds, for what is damaged
            return None
        if any(name.endswith("/archive_format") for name in names):
            return ".pt2"
        return ".ckpt" if any(name.endswith("/data.pkl") for name in names) else None
    if content[8:9] == b"{" and 2 <= int.from_bytes(content[:8], "little") <= len(content) - 8:
        return ".safetensors"
    # A protocol buffer: the version of the format, then who made it or a graph.
    return ".onnx" if content[:1] == b"\x08" and content[2:3] in (b"\x12", b":") else None


def check_suffix(content: bytes, path: Path | str) -> None:
    """Raise InputError for a file that is empty, or plainly of another kind than its name says.

    A checkpoint may have any name but those of exported files.
    """
    if not content:
        raise InputError(f"ckpt={path} is empty: it has 0 bytes")
    kind, suffix = sniff_suffix(content), Path(path).suffix.lower()
    if kind and kind != (suffix if suffix in EXPORTED else ".ckpt"):
        raise InputError(f"ckpt={path} is {NAMES[kind]} by its content: give it a name that ends in {kind}")
