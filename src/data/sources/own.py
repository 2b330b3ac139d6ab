"""data=own: the data set that a function of the user's own returns."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from src.data.source import Source, Split
from src.errors import InputError, printable, require

FORMS = "a Source, or {train: (images, labels), test: (images, labels), class_names: [...]}"


def load_own(source: Any = None, **options: object) -> Source:
    """The data set in what the user's own loader returned.

    source: a `Source`; or train, test and class_names as a mapping or a tuple in this order, without names the labels
    are. A split is (images, labels) or a dataset of such pairs, as torchvision's; images are uint8 (N, C, H, W),
    (N, H, W, C) or (N, H, W), tensors or arrays; labels are 0 to K-1.
    options: of data sets with files (root, download, ...), which this one leaves to the loader.
    Raises InputError for anything else; a split is read when it is needed.
    """
    given = source is not None and not (isinstance(source, Mapping) and "_target_" in source)
    require(given, "data=own: give data.source._target_=mypackage.data.load, a function that returns the data set")
    if isinstance(source, Source):
        return source
    if isinstance(source, Mapping):
        parts = [source.get(name) for name in ("train", "test", "class_names")]
    else:
        parts = [*source, None, None][:3] if isinstance(source, list | tuple) else [None, None, None]
    train, test, names = parts
    returned = f"data.source returned {type(source).__name__}"
    require(train is not None and test is not None, f"{returned} without a train and a test split: {FORMS}")
    names = names if names is not None else getattr(train, "classes", None)
    labels = _labels(train)
    count = int(labels.max()) + 1 if len(labels) else 0
    class_names = tuple(map(str, range(count) if names is None else names))
    require(
        len(set(class_names)) == len(class_names) > 1,
        f"data.source: {len(class_names)} class names: two or more, all different",
    )
    shapes = partial(_split, classes=len(class_names))
    return Source(class_names, partial(shapes, "train", train), partial(shapes, "test", test))


def _labels(split: Any) -> Tensor:
    return _pairs(split, "train")[1]


def _pairs(split: Any, name: str) -> tuple[Any, Tensor]:
    """Images and labels, int64 (N,), of a split in either form."""
    if isinstance(split, list | tuple) and len(split) == 2 and not isinstance(split[0], tuple):
        images, labels = split
    elif hasattr(split, "__getitem__") and hasattr(split, "__len__"):
        items = [split[index] for index in range(len(split))]
        pairs = all(isinstance(item, list | tuple) and len(item) == 2 for item in items)
        require(bool(items) and pairs, f"data.source: {name} is no dataset of pairs (image, label), or is empty")
        arrays = [np.asarray(image) for image, _ in items]
        shapes = {array.shape for array in arrays}
        require(len(shapes) == 1, f"data.source: {name} has images of {len(shapes)} shapes, such as {list(shapes)[:2]}")
        images, labels = np.stack(arrays), [int(label) for _, label in items]
    else:
        raise InputError(f"data.source: {name} is {type(split).__name__}: (images, labels), or a dataset of such pairs")
    try:
        return images, torch.as_tensor(np.asarray(labels)).long()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"data.source: the labels of {name} are no whole numbers ({printable(error, 100)})") from None


def _split(name: str, split: Any, classes: int) -> Split:
    images, labels = _pairs(split, name)
    try:
        images = torch.as_tensor(images if isinstance(images, Tensor) else np.asarray(images))
    except (TypeError, ValueError) as error:
        raise InputError(f"data.source: the images of {name} are no array ({printable(error, 100)})") from None
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = images.permute(0, 3, 1, 2)
    shape = "x".join(map(str, images.shape))
    good = images.dtype == torch.uint8 and images.ndim == 4 and len(images) > 0
    require(good, f"data.source: the images of {name} are {images.dtype} {shape}: uint8 (N, C, H, W), 0 to 255")
    require(labels.shape == (len(images),), f"data.source: {name} has {len(images)} images and {labels.numel()} labels")
    in_range = int(labels.min()) >= 0 and int(labels.max()) < classes
    require(
        in_range,
        f"data.source: labels of {name} from {int(labels.min())} to {int(labels.max())}, not 0 to {classes - 1}",
    )
    return Split(images.contiguous(), labels)
