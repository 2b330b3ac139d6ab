"""Which pictures a network was trained on and chosen by: digests of their pixels, kept in its checkpoint.

A folder of pictures changes: one that is added or removed may move others from the training to the test split. The
digests tell it, and find copies under other names.
"""

import hashlib

import numpy as np
import torch
from torch import Tensor

from src.data.batches import BatchDataset
from src.errors import InputError

SeenImages = dict[str, Tensor]  # train, val, and earlier, of the network that was fine-tuned -> int64 (N,)


def image_digest(image: np.ndarray) -> int:
    """The first 8 bytes of BLAKE2b of an image's pixels, uint8 (C, H, W), as a signed integer."""
    return int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=8).digest(), "big", signed=True)


def image_digests(images: Tensor) -> Tensor:
    """The digest of each image, uint8 (N, C, H, W): int64 (N,)."""
    return torch.tensor([image_digest(image) for image in images.numpy()], dtype=torch.int64)


def is_seen(digests: Tensor, seen: SeenImages) -> Tensor:
    """Mask (N,) of the images that trained a network, or by which it was chosen."""
    return torch.isin(digests, torch.cat(list(seen.values())))


def seen_in_training(
    train: BatchDataset, val: BatchDataset, source: SeenImages | None = None, unlabelled: BatchDataset | None = None
) -> SeenImages | None:
    """The images that train, with labels or without, and validate, and those that `source`, the network that is
    fine-tuned, has seen; None where the data set is no folder of pictures."""
    parts = train.picture_digests, val.picture_digests
    if parts[0] is None or parts[1] is None:
        return None
    earlier = {} if source is None else {"earlier": torch.cat(list(source.values())).unique()}
    more = [] if unlabelled is None or unlabelled.picture_digests is None else [unlabelled.picture_digests]
    return {"train": torch.cat([parts[0], *more]), "val": parts[1], **earlier}


def check_same_images(saved: SeenImages | None, now: SeenImages | None) -> None:
    """Raise InputError unless the images of a run that is resumed are those it began with.

    None: an older run, or a data set that is no folder of pictures; nothing is compared then.
    """
    if not saved or not now:
        return
    before, after = (torch.cat([seen["train"], seen["val"]]) for seen in (saved, now))
    if torch.equal(saved["train"], now["train"]) and torch.equal(saved["val"], now["val"]):
        return
    gone, new = int((~torch.isin(before, after)).sum()), int((~torch.isin(after, before)).sum())
    what = f"{gone:,} of {len(before):,} are gone, {new:,} are new"
    if gone == len(before):
        what += " (or another version of Pillow reads them otherwise)"
    if not gone and not new:
        what = "they are the same, with other names or in other classes or splits"
    raise InputError(
        f"resume_from continues the same run, and the pictures that train and validate have changed since: {what}. "
        "Restore them, or train a new run on them: init_from=<this run> starts from its network"
    )
