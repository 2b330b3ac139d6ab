"""The inputs of a command on a trained network: data set, split, rows, pictures, device."""

from omegaconf import DictConfig, OmegaConf, open_dict

from src.cli.config import instantiate, to_plain
from src.errors import InputError, choice, is_integer, require
from src.files import display_path

SPLITS = ("train", "val", "test")
WHOLE = ("all", "unseen")  # every image; every one that the network was neither trained on nor chosen by
INKS = ("auto", "mnist", "none")  # as `src.pictures.inputs` has them, which imports torch; a test compares them
OF_FOLDERS = ("layout", "on_error")  # null in the command's own config, unknown to other data sets than folders
DEVICES = ("auto", "cpu", "cuda", "mps")


def build_data(cfg: DictConfig, trained: dict):
    """The data set of `data=`; without it the one of the training, changed by the keys data.<key> that are not null.

    trained: the data options in the checkpoint.
    """
    if cfg.data._target_ is not None:
        with open_dict(cfg.data):
            for key in OF_FOLDERS:
                if cfg.data.get(key) is None:
                    cfg.data.pop(key, None)
        return instantiate(cfg.data, "data")
    return data_as_trained(trained, {key: value for key, value in to_plain(cfg.data).items() if value is not None})


def data_as_trained(trained: dict, changes: dict):
    """The data set of a checkpoint's options with some of them changed."""
    from src.data.datamodule import ImageData  # never a class that the file names

    options = {key: value for key, value in {**trained, **changes}.items() if not key.startswith("_")}
    if options.get("source"):
        from src.model_files.build import build_source

        options["source"] = build_source(options["source"])
    try:
        return ImageData(**options)
    except TypeError as error:
        raise InputError(f"the checkpoint's data options do not fit this version ({error}): give data=<name>") from None


def select_split(data, split: str, net):
    """The batches of a split, or of all of them, its labels renumbered in the network's order of classes.

    Raises InputError if the images have another shape, or classes that the network does not know.
    """
    from src.pictures.inputs import resolve_ink

    target, info = data.target, net.info
    if (target.name, target.scale) != (info.target, info.scale):
        requested = target.option + (f", up to {target.scale:g} degrees" if target.name else "")
        fix = f"data.target=angle data.max_angle_deg={info.scale:g}" if info.target else "data.target=class"
        raise InputError(f"{requested}, but this network gives {info.target or 'classes'}: give {fix}")
    names, known = data.source.class_names, info.class_names or data.source.class_names
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(
            f"data={data.name} has {len(names)} classes, {len(unknown)} of which this network does not know "
            f"({', '.join(unknown[:8])}); it knows {len(known)}: {', '.join(known[:12])}"
        )
    data.read_as(info.shape, resolve_ink("auto", info.shape, net.config["data"]))
    if split in ("train", "val"):
        data.setup()
    batches = _unseen(data, net) if split == "unseen" else getattr(data, f"{split}_set")
    shape = tuple(batches.images.shape[1:])
    if shape != info.shape:
        raise InputError(
            f"data={data.name} has images of {'x'.join(map(str, shape))} (channels, height, width), this network reads "
            f"{'x'.join(map(str, info.shape))}: with data=folder leave data.size and data.channels out"
        )
    return batches if target.name else batches.relabeled([known.index(name) for name in names])


def _unseen(data, net):
    """All images of `data` but those that the network was trained on or chosen by. Raises InputError if that is not
    known, or none is left."""
    from src.data.seen_images import is_seen

    batches = data.all_set
    digests = batches.picture_digests
    require(digests is not None, f"split=unseen is for folders of pictures, not data={data.name}: give split=test")
    require(
        net.seen is not None, "split=unseen: the file does not say which pictures it was trained on: give split=all"
    )
    unseen = batches.keep(~is_seen(digests, net.seen))
    require(len(unseen) > 0, f"split=unseen: it has seen all {len(batches):,} pictures of data.root={data.root}")
    return unseen


def check_device(device: object) -> None:
    """Raise InputError for an unknown device; does not import torch."""
    choice("device", device, DEVICES)


def select_device(device: str) -> str:
    """A device by name; auto takes the accelerator if there is one. Raises InputError for one that is missing."""
    import torch

    available = torch.accelerator.current_accelerator().type if torch.accelerator.is_available() else "cpu"
    if device == "auto":
        return available
    require(device in ("cpu", available), f"device={device} is not available: give device=auto or device=cpu")
    return device


def picture_patterns(images: object) -> list[str]:
    """The value of `images` as a list of files, folders and patterns. Raises InputError for anything else."""
    images = to_plain(images) if OmegaConf.is_config(images) else images
    words = images if isinstance(images, list) else [images]
    valid = bool(words) and all(isinstance(word, str) and word for word in words)
    require(valid, f"images={images}: a file, a folder, a pattern such as 'digits/*.png', or a list of them")
    return words


def read_pictures(cfg: DictConfig, net):
    """The user's pictures as `net` reads them, at most cfg.n images.

    Returns images uint8 (N, C, H, W); their names: the file's, and which digit of it where it holds several; whether
    they were brought to MNIST's form; and a line about those left out, or None.
    """
    from src.pictures.inputs import find_pictures, load_picture_images, resolve_ink

    ink = resolve_ink(cfg.ink, net.info.shape, net.config["data"])
    paths = find_pictures(picture_patterns(cfg.images))
    images, origins = load_picture_images(paths, net.info.shape, ink, cfg.n)
    names = [display_path(path) + (f" digit {place} of {count}" if count > 1 else "") for path, place, count in origins]
    path, place, count = origins[-1]
    opened, left_out = paths.index(path) + 1, None
    if opened < len(paths) or place < count:
        several = any(count > 1 for *_, count in origins)
        which = f"{len(names)} digits, of {opened}" if several else f"{opened}"
        left_out = f"the first {which} of {len(paths)} pictures; n takes up to 64"
    return images, names, ink, left_out


def positions_of_rows(index, rows, count: int, split: str):
    """Positions in a split, int64 (N,), of rows of the data set's file; `src.report` names images by rows too.

    rows: of the split, by position, int64; count: rows of the file. Raises InputError for a row outside 0..count-1, or
    one that the split does not hold.
    """
    import torch

    wanted = list(index) if isinstance(index, list | tuple) else [index]
    require(bool(wanted), "index=[]: give at least one row")
    file = "test" if split == "test" else "training"
    positions = torch.full((count,), -1)
    positions[rows] = torch.arange(len(rows))
    for row in wanted:
        valid = is_integer(row) and 0 <= row < count
        require(valid, f"index={row}: a row of the {file} file, 0 to {count - 1:,}, or a list of them")
        other = {"train": "val", "val": "train"}.get(split)
        require(
            positions[row] >= 0, f"index={row} is not in the {split} split: try split={other}; it may be in neither"
        )
    return positions[torch.tensor(wanted)]


def target_columns(target, outputs, labels, info):
    """The output column explained for each image, int64 (N,).

    target: None for the largest output, label for the true class, a class by name, or one of these per image.
    outputs: (N, K). Raises InputError for an unknown class, or any target where the network estimates a number.
    """
    import torch

    largest = outputs.argmax(1)
    if target is None:
        return largest
    info.output.require_classes(f"target={target}", "leave target out")
    names = [target] * len(outputs) if isinstance(target, str | int | float) else list(target)
    require(len(names) == len(outputs), f"target: {len(names)} classes for {len(outputs)} images; give one, or as many")
    columns = []
    for row, name in enumerate(map(str, names)):
        if name == "label" and name not in info.class_names:
            require(labels is not None, "target=label: pictures of files have no label")
            columns.append(int(labels[row]))
        else:
            known = f"label, {', '.join(info.class_names[:40])}"
            require(name in info.class_names, f"target={name} is no class of this network; there are: {known}")
            columns.append(info.class_names.index(name))
    return torch.tensor(columns)
