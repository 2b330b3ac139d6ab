"""The data sets by name: what each one is called in `data=` and how its two splits are read."""

from src.data import folder, idx, scans
from src.data.source import Source
from src.errors import InputError

READERS = {
    "mnist": idx.mnist,
    "fashion_mnist": idx.fashion_mnist,
    "kmnist": idx.kmnist,
    "qmnist": idx.qmnist,
    "emnist": idx.emnist,
    "usps": scans.usps,
    "digits": scans.digits,
    "folder": folder.folder,
}


def load_source(name: str, **options) -> Source:
    """The data set `name`; nothing is read or downloaded before a split is asked for.

    options: root, download and mirrors, and what the reader of that name takes besides.
    Raises InputError for an unknown name.
    """
    if name not in READERS:
        raise InputError(f"data.name={name} is no data set; known: {', '.join(READERS)}")
    return READERS[name](**options)
