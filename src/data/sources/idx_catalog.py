"""Addresses, digests and class names of the data sets published as IDX files.

Addresses and MD5 digests of the packed files are the ones torchvision uses.
"""

import string
from collections.abc import Mapping
from dataclasses import dataclass, field

DIGIT_NAMES = tuple(string.digits)
KUZUSHIJI_NAMES = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")


@dataclass(frozen=True)
class IdxDataset:
    """Classes, mirrors and digests of four packed IDX files.

    files: role -> (name of the packed file, its MD5); sha256: role -> digest of the unpacked file, where published.
    """

    folder: str
    class_names: tuple[str, ...]
    mirrors: tuple[str, ...]
    files: Mapping[str, tuple[str, str]]
    sha256: Mapping[str, str] = field(default_factory=dict)


def _by_role(*values):
    return dict(zip(("train-images", "train-labels", "test-images", "test-labels"), values, strict=True))


def _gz(*md5s: str) -> dict[str, tuple[str, str]]:
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return _by_role(*((f"{name}-ubyte.gz", md5) for name, md5 in zip(names, md5s, strict=True)))


MNIST = IdxDataset(
    "MNIST",
    DIGIT_NAMES,
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ),
    _gz(
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
    _by_role(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)
FASHION_MNIST = IdxDataset(
    "FashionMNIST",
    ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
    _gz(
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
)
KMNIST = IdxDataset(
    "KMNIST",
    KUZUSHIJI_NAMES,
    ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
    _gz(
        "bdb82020997e1d708af4cf47b453dcf7",
        "e144d726b3acfaa3e44228e80efcd344",
        "5c965bf0a639b31b8f53240b1b52f4d7",
        "7320c461ea6c1c855c0b718fb2a4b134",
    ),
)
QMNIST = IdxDataset(
    "QMNIST",
    DIGIT_NAMES,
    ("https://raw.githubusercontent.com/facebookresearch/qmnist/master/",),
    {
        "train-images": ("qmnist-train-images-idx3-ubyte.gz", "ed72d4157d28c017586c42bc6afe6370"),
        "train-labels": ("qmnist-train-labels-idx2-int.gz", "0058f8dd561b90ffdd0f734c6a30e5e4"),
        "test-images": ("qmnist-test-images-idx3-ubyte.gz", "1394631089c404de565df7b7aeaf9412"),
        "test-labels": ("qmnist-test-labels-idx2-int.gz", "5b5b05890a5e13444e108efe57b788aa"),
    },
)
EMNIST_MIRRORS = ("https://biometrics.nist.gov/cs_links/EMNIST/",)
EMNIST_ZIP = ("gzip.zip", "58c8d27c78d21e728a6bc7b3cc06412e")
_MERGED = set("cijklmopsuvwxyz")  # lower-case letters that look like their capitals
_BALANCED = tuple(c for c in string.digits + string.ascii_uppercase + string.ascii_lowercase if c not in _MERGED)
EMNIST_VARIANTS = {
    "balanced": _BALANCED,
    "bymerge": _BALANCED,
    "byclass": tuple(string.digits + string.ascii_uppercase + string.ascii_lowercase),
    "letters": tuple(string.ascii_lowercase),
    "digits": DIGIT_NAMES,
    "mnist": DIGIT_NAMES,
}
