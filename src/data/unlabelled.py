"""The images that train without their labels (data.unlabelled)."""

import logging

import torch

from src.data.batches import BatchDataset
from src.data.datamodule import ImageData
from src.data.sources.folder import PictureFolder, folder_source
from src.data.sources.folder_layout import Layout
from src.data.transforms import transform_source
from src.errors import require, text
from src.files import system_path
from src.pictures.file_types import FORMATS
from src.pictures.listing import LeftOut, list_pictures

log = logging.getLogger(__name__)


def unlabelled_images(data: ImageData) -> BatchDataset | None:
    """Images whose labels are all -1; None for data.unlabelled=false.

    data.unlabelled=true: those of the training split that neither train with their labels nor validate. A folder: every
    picture below it, read as the data are, but those that have a label or measure. Raises InputError if there are none.
    """
    if isinstance(data.unlabelled, bool):
        return _rest(data) if data.unlabelled else None
    return _pictures(data, text("data.unlabelled", data.unlabelled, "true, false or a folder of pictures"))


def _rest(data: ImageData) -> BatchDataset:
    train = data.train_set
    rest = torch.ones(len(train.labels), dtype=torch.bool)
    rest[train.indices], rest[data.val_set.indices] = False, False
    advice = "label fewer with data.shots=<images per class> or data.fraction=<below 1>, give a folder of pictures"
    require(bool(rest.any()), f"data.unlabelled=true: every training image trains with its label: {advice}")
    rows = rest.nonzero().flatten()
    return BatchDataset(train.images, torch.full_like(train.labels, -1), rows, train.files, train.digests, train.tasks)


def _pictures(data: ImageData, root: str) -> BatchDataset:
    base = system_path(root).expanduser()
    memory_gb, cache_gb = (data.options.get(key, 4.0) for key in ("memory_gb", "cache_gb"))
    require(base.is_dir(), f"data.unlabelled={root} is no folder: give true, false or a folder of pictures")
    pictures = [(path, 0) for path in list_pictures(base, LeftOut())]
    require(bool(pictures), f"data.unlabelled={root}: the folder holds no pictures ({', '.join(FORMATS)})")
    layout = Layout(("unlabelled",), {"train": pictures, "test": []})
    source = folder_source(PictureFolder(base, layout, None, None, memory_gb, cache_gb, skip=True))
    split = transform_source(source, data.ink, quarter_turns=data.quarter_turns).read_as(data.info.shape).train()
    data.skipped += tuple((f"{root}/{name}", reason) for name, reason in split.skipped)
    assert split.digests is not None  # pictures have them
    rows = (~torch.isin(split.digests, _known_pictures(data))).nonzero().flatten()
    others = len(split.labels) - len(rows)
    left_out = [f"{others:,} that train with a label, validate or test"] * bool(others)
    left_out += [f"{len(split.skipped):,} that cannot be read"] * bool(split.skipped)
    told = f"{len(rows):,} pictures train without labels" + f"; left out: {', '.join(left_out)}" * bool(left_out)
    require(len(rows) > 0, f"data.unlabelled={root}: {told}")
    log.info("data.unlabelled=%s: %s", root, told)
    return BatchDataset(split.images, torch.full_like(split.labels, -1), rows, split.files, split.digests)


def _known_pictures(data: ImageData) -> torch.Tensor:
    """The digests of the pictures that train with a label, validate or, where they have been read, test."""
    sets = [data.train_set, data.val_set, *([data.test_set] if "test_set" in vars(data) else [])]
    digests = [found for batches in sets if (found := batches.picture_digests) is not None]
    return torch.cat([torch.empty(0, dtype=torch.int64), *digests])
