"""The MNIST family: images and labels in IDX files.

Format: http://yann.lecun.com/exdb/mnist/ (two zero bytes, a type code, the number of dimensions, each dimension as
a big-endian int32, then the values).
"""

import gzip
import hashlib
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from src.data.source import Source, Split
from src.data.sources import idx_catalog
from src.data.sources.download import fetch
from src.data.sources.idx_catalog import IdxDataset
from src.errors import InputError, choice
from src.files import lock, write_bytes

DTYPES: dict[int, np.dtype] = {0x08: np.dtype("u1"), 0x0C: np.dtype(">i4")}


def parse_idx(content: bytes | np.ndarray, name: str) -> Tensor:
    """Parse the content of an IDX file to a tensor (uint8 or int64). name: of the file, for errors.

    Raises InputError if the header or the length is wrong.
    """
    content = np.frombuffer(content, np.uint8) if isinstance(content, bytes) else content
    if len(content) < 4 or content[0] or content[1] or int(content[2]) not in DTYPES:
        raise InputError(f"{name} is not an IDX file")
    dtype, dimensions = DTYPES[int(content[2])], int(content[3])
    start = 4 + 4 * dimensions
    shape = struct.unpack(f">{dimensions}I", content[4:start].tobytes()) if len(content) >= start else ()
    expected = start + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    if len(content) != expected:
        raise InputError(f"{name} has {len(content):,} bytes, its header promises {expected:,}")
    values = content[start:].view(dtype).reshape(shape)
    return torch.from_numpy(values if dtype.itemsize == 1 else values.astype(np.int64))


def read_verified(path: Path, unpack: Callable[[], bytes] | None, sha256: str | None) -> Tensor:
    """Read an unpacked IDX file and verify its digest; a missing or damaged file is replaced by `unpack()`.

    sha256: the published digest, or None to use the one written beside the file when it was unpacked.
    unpack: returns the content, downloading what it needs; None forbids it.
    Raises InputError for a missing or damaged file that may not be replaced.
    """
    with suppress(InputError):
        return _read_idx(path, sha256)
    if unpack is not None:
        with lock(path):
            with suppress(InputError):
                return _read_idx(path, sha256)  # another process has written it meanwhile
            content = unpack()
            digest = hashlib.sha256(content).hexdigest()
            if sha256 and digest != sha256:
                raise InputError(f"{path.name} was unpacked to the wrong content (SHA-256 {digest})")
            write_bytes(_digest_file(path), f"{digest}\n".encode())
            write_bytes(path, content)
    try:
        return _read_idx(path, sha256)
    except InputError as error:
        raise InputError(f"{error}: give data.root=<folder that has it> or data.download=true") from None


def _read_idx(path: Path, sha256: str | None) -> Tensor:
    if not path.is_file():
        raise InputError(f"{path} is missing")
    content = np.fromfile(path, np.uint8)
    digest_file = _digest_file(path)
    expected = sha256 or (digest_file.read_text().strip() if digest_file.is_file() else None)
    if expected and hashlib.sha256(content.data).hexdigest() != expected:
        raise InputError(f"{path} is damaged (wrong SHA-256)")
    return parse_idx(content, str(path))


def _digest_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _read_split(split: str, read: Callable[[str], Tensor]) -> Split:
    images, labels = read(f"{split}-images"), read(f"{split}-labels")
    labels = labels[:, 0] if labels.ndim == 2 else labels.long()  # QMNIST: class, then the writer and more
    if len(images) != len(labels):
        raise InputError(f"{len(images):,} {split} images but {len(labels):,} labels: the files do not belong together")
    return Split(images.unsqueeze(1), labels)


def load_idx(dataset: IdxDataset, root: str, download: bool = True, mirrors: Sequence[str] | None = None) -> Source:
    """A data set of four IDX files under `root`/<dataset.folder>/raw, as torchvision lays them out."""
    raw = Path(root).expanduser() / dataset.folder / "raw"

    def read(role: str) -> Tensor:
        packed, md5 = dataset.files[role]

        def unpack() -> bytes:
            fetch(mirrors or dataset.mirrors, raw / packed, md5)
            try:
                return gzip.decompress((raw / packed).read_bytes())
            except (OSError, EOFError, zlib.error) as error:
                raise InputError(f"{raw / packed} cannot be unpacked ({error}): delete it and try again") from None

        return read_verified(raw / packed.removesuffix(".gz"), unpack if download else None, dataset.sha256.get(role))

    return Source(dataset.class_names, partial(_read_split, "train", read), partial(_read_split, "test", read))


def load_emnist(
    root: str, variant: str = "balanced", download: bool = True, mirrors: Sequence[str] | None = None
) -> Source:
    """One of six variants of EMNIST (Cohen et al. 2017, https://arxiv.org/abs/1702.05373), upright like MNIST."""
    names = idx_catalog.EMNIST_VARIANTS[choice("data.variant", variant, idx_catalog.EMNIST_VARIANTS)]
    raw = Path(root).expanduser() / "EMNIST" / "raw"

    def read(role: str) -> Tensor:
        name = f"emnist-{variant}-{role}-idx{3 if role.endswith('images') else 1}-ubyte"

        def unpack() -> bytes:
            packed, md5 = idx_catalog.EMNIST_ZIP
            fetch(mirrors or idx_catalog.EMNIST_MIRRORS, raw / packed, md5)
            with zipfile.ZipFile(raw / packed) as archive:
                return gzip.decompress(archive.read(f"gzip/{name}.gz"))

        tensor = read_verified(raw / name, unpack if download else None, None)
        if role.endswith("images"):
            return tensor.transpose(1, 2).contiguous()  # stored column by column
        return tensor - 1 if variant == "letters" else tensor  # letters count from 1

    return Source(names, partial(_read_split, "train", read), partial(_read_split, "test", read))
