"""What a command on a trained network is asked to look at: which images, on which device."""

from omegaconf import DictConfig

from src.errors import InputError
from src.run import build, plain

SPLITS = ("train", "val", "test")


def build_data(cfg: DictConfig, trained: dict):
    """The data set that is asked for, or the one that the network was trained on with what is given changed."""
    if cfg.data._target_ is not None:
        return build(cfg.data, "data")
    from src.data.module import ImageData  # never a class that the file names

    given = {key: value for key, value in plain(cfg.data).items() if value is not None}
    options = {key: value for key, value in {**trained, **given}.items() if not key.startswith("_")}
    try:
        return ImageData(**options)
    except TypeError as error:
        raise InputError(f"the checkpoint's data options do not fit this version ({error}): give data=<name>") from None


def pick(data, split: str, facts):
    """The batches of a split, with labels as the network counts them.

    Raises InputError if the images have another shape or classes that the network does not know.
    """
    target = f"{data.target}_deg" if data.target == "angle" else None
    if target != facts.target or (target and data.max_angle_deg != facts.scale):
        asked = f"data.target={data.target}" + (f", up to {data.max_angle_deg:g} degrees" if target else "")
        fix = f"data.target=angle data.max_angle_deg={facts.scale:g}" if facts.target else "data.target=class"
        raise InputError(f"{asked}, but this network gives {facts.target or 'classes'}: give {fix}")
    names, known = data.source.class_names, facts.class_names or data.source.class_names
    strangers = [name for name in names if name not in known]
    if strangers:
        raise InputError(
            f"data={data.name} has {len(names)} classes, {len(strangers)} of which this network does not know "
            f"({', '.join(strangers[:8])}); it knows {len(known)}: {', '.join(known[:12])}"
        )
    if split != "test":
        data.setup()
    batches = {"train": lambda: data.train_set, "val": lambda: data.val_set, "test": lambda: data.test_set}[split]()
    shape = tuple(batches.images.shape[1:])
    if shape != facts.shape:
        raise InputError(
            f"data={data.name} has images of {'x'.join(map(str, shape))} (channels, height, width), this network reads "
            f"{'x'.join(map(str, facts.shape))}: with data=folder give data.size and data.channels"
        )
    return batches if target else batches.relabelled([known.index(name) for name in names])


def pick_device(given: str) -> str:
    """A device by name; auto takes the accelerator if there is one. Raises InputError for one that is not there."""
    import torch

    found = torch.accelerator.current_accelerator().type if torch.accelerator.is_available() else "cpu"
    if given == "auto":
        return found
    if given not in ("cpu", found):
        raise InputError(f"device={given} is not here: give device=auto or device=cpu")
    return given
