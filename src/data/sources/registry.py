"""The loader of each data set, by its name in `data=`."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from src.data.source import Source
from src.data.sources import idx_catalog
from src.data.sources.correction_networks import describe_network
from src.data.sources.feedback import add_corrections, rename_mix_keys
from src.data.sources.folder import load_folder
from src.data.sources.idx import load_emnist, load_idx
from src.data.sources.own import load_own
from src.data.sources.scans import load_sklearn_digits, load_usps
from src.data.transforms import transform_source
from src.errors import choice, require

MIX_KEYS = ("name", "root", "ink", "classes", "quarter_turns", "options")
REHEARSED = ("replay", "share", "repeats")  # options of data=feedback that are of continual=rehearsal now


def load_feedback(
    root: str, mix: Mapping, download: bool = True, mirrors: Sequence[str] | None = None, **options
) -> Source:
    """Corrections of the store `root` beside the data the network was trained on (`src.data.sources.feedback`).

    mix: name, root, ink, classes and quarter_turns of these data as in `ImageData`, and their loader's other options.
    options: of `add_corrections`; those of checkpoints from before continual=rehearsal had them are left out.
    Raises InputError for another mix, or what `add_corrections` refuses.
    """
    valid = isinstance(mix, Mapping) and "name" in mix and set(mix) <= set(MIX_KEYS) and mix["name"] != "feedback"
    require(valid, f"data.mix={mix}: name the original data, not feedback, by the keys {', '.join(MIX_KEYS)}")
    transforms = {key: value for key, value in mix.items() if key not in ("name", "root", "options")}
    extra = mix.get("options") or {}
    of_mix = {"root": mix.get("root"), "download": download, "mirrors": mirrors, **extra}
    with rename_mix_keys(tuple(extra)):
        original = transform_source(load_dataset(mix["name"], **of_mix), **transforms)
    options = {key: value for key, value in options.items() if key not in REHEARSED}
    return add_corrections(root, describe_network(original.class_names, mix), original, **options)


LOADERS: dict[str, Callable[..., Source]] = {
    "mnist": partial(load_idx, idx_catalog.MNIST),
    "fashion_mnist": partial(load_idx, idx_catalog.FASHION_MNIST),
    "kmnist": partial(load_idx, idx_catalog.KMNIST),
    "qmnist": partial(load_idx, idx_catalog.QMNIST),
    "emnist": load_emnist,
    "usps": load_usps,
    "digits": load_sklearn_digits,
    "folder": load_folder,
    "own": load_own,
    "feedback": load_feedback,
}


def load_dataset(name: str, **options) -> Source:
    """The data set `name`; nothing is read or downloaded before a split is needed.

    options: root, download, mirrors, and what else the loader of that name takes.
    Raises InputError for an unknown name.
    """
    return LOADERS[choice("data.name", name, LOADERS)](**options)
