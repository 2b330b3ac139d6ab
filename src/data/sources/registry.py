"""The data sets by name: what each one is called in `data=` and how its two splits are read."""

from collections.abc import Mapping, Sequence

from src.data.source import Source
from src.data.sources import folder, idx, replay, sklearn_digits, usps
from src.data.transforms import transform_source
from src.errors import InputError, require

MIX_KEYS = ("name", "root", "ink", "classes", "quarter_turns", "options")


def feedback(
    root: str, mix: Mapping, download: bool = True, mirrors: Sequence[str] | None = None, **knobs: float | None
) -> Source:
    """Corrections of the store `root`, mixed with the data the network was trained on (`src.data.sources.replay`).

    mix: its name, root, ink, classes, quarter_turns as in `ImageData`, and options, what else its reader takes.
    Raises InputError for another mix, or what `mixture.feedback` refuses.
    """
    known = isinstance(mix, Mapping) and "name" in mix and set(mix) <= set(MIX_KEYS)
    require(known and mix["name"] != "feedback", f"data.mix={mix}: the original data, with keys {', '.join(MIX_KEYS)}")
    mix = dict(mix)
    options = {
        "root": mix.pop("root", None),
        "download": download,
        "mirrors": mirrors,
        **(mix.pop("options", {}) or {}),
    }
    with replay.of_mix(tuple(options)[3:]):
        original = transform_source(load_source(mix.pop("name"), **options), **mix)
    return replay.mix_corrections(root, original, **knobs)


READERS = {
    "mnist": idx.mnist,
    "fashion_mnist": idx.fashion_mnist,
    "kmnist": idx.kmnist,
    "qmnist": idx.qmnist,
    "emnist": idx.emnist,
    "usps": usps.usps,
    "digits": sklearn_digits.digits,
    "folder": folder.folder,
    "feedback": feedback,
}


def load_source(name: str, **options) -> Source:
    """The data set `name`; nothing is read or downloaded before a split is asked for.

    options: root, download and mirrors, and what the reader of that name takes besides.
    Raises InputError for an unknown name.
    """
    if name not in READERS:
        raise InputError(f"data.name={name} is no data set; known: {', '.join(READERS)}")
    return READERS[name](**options)
