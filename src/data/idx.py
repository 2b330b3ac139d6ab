"""The MNIST family: images and labels in IDX files.

Format: http://yann.lecun.com/exdb/mnist/ (two zero bytes, a type code, the number of dimensions, each dimension as
a big-endian int32, then the values). Addresses and MD5 digests of the packed files are the ones torchvision uses.
"""

import gzip
import hashlib
import string
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from src.data.fetch import fetch, lock, write_bytes
from src.data.source import Source, Split
from src.errors import InputError

DTYPES = {0x08: np.dtype("u1"), 0x0C: np.dtype(">i4")}
DIGITS = tuple(string.digits)
ROLES = ("train-images", "train-labels", "test-images", "test-labels")


@dataclass(frozen=True)
class Family:
    """Where four packed IDX files come from and what they must be.

    files: role -> (name of the packed file, its MD5); sha256: role -> digest of the unpacked file, where published.
    """

    folder: str
    mirrors: tuple[str, ...]
    files: Mapping[str, tuple[str, str]]
    sha256: Mapping[str, str] = field(default_factory=dict)


def _gz(md5s: Sequence[str], names: Sequence[str] | None = None) -> dict[str, tuple[str, str]]:
    names = names or ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return {role: (f"{name}-ubyte.gz", md5) for role, name, md5 in zip(ROLES, names, md5s, strict=True)}


MNIST = Family(
    "MNIST",
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ),
    _gz(
        (
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        )
    ),
    dict(
        zip(
            ROLES,
            (
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
            strict=True,
        )
    ),
)
FASHION_MNIST = Family(
    "FashionMNIST",
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
    _gz(
        (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        )
    ),
)
KMNIST = Family(
    "KMNIST",
    ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
    _gz(
        (
            "bdb82020997e1d708af4cf47b453dcf7",
            "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7",
            "7320c461ea6c1c855c0b718fb2a4b134",
        )
    ),
)
QMNIST = Family(
    "QMNIST",
    ("https://raw.githubusercontent.com/facebookresearch/qmnist/master/",),
    {
        "train-images": ("qmnist-train-images-idx3-ubyte.gz", "ed72d4157d28c017586c42bc6afe6370"),
        "train-labels": ("qmnist-train-labels-idx2-int.gz", "0058f8dd561b90ffdd0f734c6a30e5e4"),
        "test-images": ("qmnist-test-images-idx3-ubyte.gz", "1394631089c404de565df7b7aeaf9412"),
        "test-labels": ("qmnist-test-labels-idx2-int.gz", "5b5b05890a5e13444e108efe57b788aa"),
    },
)
FASHION_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
KUZUSHIJI_NAMES = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")

EMNIST_MIRRORS = ("https://biometrics.nist.gov/cs_links/EMNIST/",)
EMNIST_ZIP = ("gzip.zip", "58c8d27c78d21e728a6bc7b3cc06412e")
_MERGED = set("cijklmopsuvwxyz")  # lower-case letters that look like their capitals
_BALANCED = tuple(c for c in string.digits + string.ascii_uppercase + string.ascii_lowercase if c not in _MERGED)
EMNIST_VARIANTS = {
    "balanced": _BALANCED,
    "bymerge": _BALANCED,
    "byclass": tuple(string.digits + string.ascii_uppercase + string.ascii_lowercase),
    "letters": tuple(string.ascii_lowercase),
    "digits": DIGITS,
    "mnist": DIGITS,
}


def parse_idx(content: bytes | np.ndarray, name: str) -> Tensor:
    """The array of an IDX file as a tensor (uint8 or int64); `name` is what the error calls it.

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
    """Read an unpacked IDX file whose bytes are what they should be; make it with `unpack` if they are not.

    sha256: the published digest, or None to use the one written beside the file when it was unpacked.
    unpack: makes the content (downloading what it needs); None forbids it.
    Raises InputError for a missing or damaged file that may not be made.
    """
    record = path.with_name(f"{path.name}.sha256")

    def read() -> Tensor | str:
        if not path.is_file():
            return f"{path} is missing"
        content = np.fromfile(path, np.uint8)
        expected = sha256 or (record.read_text().strip() if record.is_file() else None)
        if expected and hashlib.sha256(content.data).hexdigest() != expected:
            return f"{path} is damaged (wrong SHA-256)"
        try:
            return parse_idx(content, str(path))
        except InputError as error:
            return str(error)

    tensor = read()
    if isinstance(tensor, str) and unpack is not None:
        with lock(path):
            tensor = read()  # another process may have made it meanwhile
            if isinstance(tensor, str):
                content = unpack()
                got = hashlib.sha256(content).hexdigest()
                if sha256 and got != sha256:
                    raise InputError(f"{path.name} was unpacked to the wrong content (SHA-256 {got})")
                write_bytes(record, f"{got}\n".encode())
                write_bytes(path, content)
                tensor = read()
    if isinstance(tensor, str):
        raise InputError(f"{tensor}: give data.root=<folder that has it> or data.download=true")
    return tensor


def _gunzip(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be unpacked ({error}): delete it and try again") from None


def _split(part: str, read: Callable[[str], Tensor]) -> Split:
    images, labels = read(f"{part}-images"), read(f"{part}-labels")
    labels = labels[:, 0] if labels.ndim == 2 else labels.long()  # QMNIST: class, then who wrote it
    if len(images) != len(labels):
        raise InputError(f"{len(images):,} {part} images but {len(labels):,} labels: the files do not belong together")
    return Split(images.unsqueeze(1), labels)


def load_family(
    family: Family, class_names: tuple[str, ...], root: str, download: bool = True, mirrors: Sequence[str] | None = None
) -> Source:
    """A data set of four IDX files under `root`/<family.folder>/raw, as torchvision lays them out."""
    raw = Path(root).expanduser() / family.folder / "raw"

    def read(role: str) -> Tensor:
        packed, md5 = family.files[role]

        def unpack() -> bytes:
            fetch([_join(mirror, packed) for mirror in mirrors or family.mirrors], raw / packed, md5)
            return _gunzip(raw / packed)

        return read_verified(raw / packed.removesuffix(".gz"), unpack if download else None, family.sha256.get(role))

    return Source(class_names, partial(_split, "train", read), partial(_split, "test", read))


def emnist(root: str, variant: str = "balanced", download: bool = True, mirrors: Sequence[str] | None = None) -> Source:
    """EMNIST (Cohen et al. 2017, https://arxiv.org/abs/1702.05373), one of its six variants, upright like MNIST.

    Raises InputError for an unknown variant.
    """
    if variant not in EMNIST_VARIANTS:
        raise InputError(f"data.variant={variant} is none of EMNIST's: {', '.join(EMNIST_VARIANTS)}")
    raw = Path(root).expanduser() / "EMNIST" / "raw"

    def read(role: str) -> Tensor:
        name = f"emnist-{variant}-{role}-idx{3 if role.endswith('images') else 1}-ubyte"

        def unpack() -> bytes:
            packed, md5 = EMNIST_ZIP
            fetch([_join(mirror, packed) for mirror in mirrors or EMNIST_MIRRORS], raw / packed, md5)
            with zipfile.ZipFile(raw / packed) as archive:
                return gzip.decompress(archive.read(f"gzip/{name}.gz"))

        tensor = read_verified(raw / name, unpack if download else None, None)
        if role.endswith("images"):
            return tensor.transpose(1, 2).contiguous()  # stored column by column
        return tensor - 1 if variant == "letters" else tensor  # letters count from 1

    names = EMNIST_VARIANTS[variant]
    return Source(names, partial(_split, "train", read), partial(_split, "test", read))


def _join(mirror: str, name: str) -> str:
    return f"{mirror.rstrip('/')}/{name}"


mnist = partial(load_family, MNIST, DIGITS)
fashion_mnist = partial(load_family, FASHION_MNIST, FASHION_NAMES)
kmnist = partial(load_family, KMNIST, KUZUSHIJI_NAMES)
qmnist = partial(load_family, QMNIST, DIGITS)
