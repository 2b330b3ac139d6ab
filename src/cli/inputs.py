"""What a command on a trained network is asked to look at: which images, on which device."""

from omegaconf import DictConfig, OmegaConf

from src.cli.config import build, to_plain
from src.errors import InputError, is_integer, require
from src.files import display_path

SPLITS = ("train", "val", "test")
INKS = ("auto", "mnist", "none")  # as `src.pictures.inputs` has them, which imports torch; a test compares them
DEVICES = ("auto", "cpu", "cuda", "mps")


def build_data(cfg: DictConfig, trained: dict):
    """The data set that is asked for, or the one that the network was trained on with what is given changed."""
    if cfg.data._target_ is not None:
        return build(cfg.data, "data")
    return as_trained(trained, {key: value for key, value in to_plain(cfg.data).items() if value is not None})


def as_trained(trained: dict, given: dict):
    """The data set of a checkpoint's options, with what is given changed."""
    from src.data.datamodule import ImageData  # never a class that the file names

    options = {key: value for key, value in {**trained, **given}.items() if not key.startswith("_")}
    try:
        return ImageData(**options)
    except TypeError as error:
        raise InputError(f"the checkpoint's data options do not fit this version ({error}): give data=<name>") from None


def pick(data, split: str, info):
    """The batches of a split, with labels as the network counts them.

    Raises InputError if the images have another shape or classes that the network does not know.
    """
    target = f"{data.target}_deg" if data.target == "angle" else None
    if target != info.target or (target and data.max_angle_deg != info.scale):
        asked = f"data.target={data.target}" + (f", up to {data.max_angle_deg:g} degrees" if target else "")
        fix = f"data.target=angle data.max_angle_deg={info.scale:g}" if info.target else "data.target=class"
        raise InputError(f"{asked}, but this network gives {info.target or 'classes'}: give {fix}")
    names, known = data.source.class_names, info.class_names or data.source.class_names
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
    if shape != info.shape:
        raise InputError(
            f"data={data.name} has images of {'x'.join(map(str, shape))} (channels, height, width), this network reads "
            f"{'x'.join(map(str, info.shape))}: with data=folder give data.size and data.channels"
        )
    return batches if target else batches.relabelled([known.index(name) for name in names])


def check_device(given: object) -> None:
    """Raise InputError for a word that is no device; needs no torch."""
    require(given in DEVICES, f"device={given}: one of {', '.join(DEVICES)}")


def pick_device(given: str) -> str:
    """A device by name; auto takes the accelerator if there is one. Raises InputError for one that is not there."""
    import torch

    found = torch.accelerator.current_accelerator().type if torch.accelerator.is_available() else "cpu"
    if given == "auto":
        return found
    if given not in ("cpu", found):
        raise InputError(f"device={given} is not here: give device=auto or device=cpu")
    return given


def listed_pictures(given: object) -> list[str]:
    """Files, folders and patterns as a list. Raises InputError for what is none of them, or an empty list."""
    given = to_plain(given) if OmegaConf.is_config(given) else given
    words = given if isinstance(given, list) else [given]
    good = bool(words) and all(isinstance(word, str) and word for word in words)
    require(good, f"images={given}: a file, a folder, a pattern such as 'digits/*.png', or a list of them")
    return words


def pick_pictures(cfg: DictConfig, net):
    """What is on the user's pictures as `net` reads it, uint8 (N, C, H, W), the first cfg.n images; their names: the
    file's, and which digit where it holds several; whether they were brought to MNIST's form; and a line about those
    left out, or None."""
    from src.pictures.inputs import choose_ink, find_pictures, read_given

    given = listed_pictures(cfg.images)
    trained = net.config["data"]
    ink = choose_ink(cfg.ink, net.info.shape, trained)
    paths = find_pictures(given)
    images, places = read_given(paths, net.info.shape, ink, cfg.n)
    names = [display_path(path) + (f" digit {place} of {count}" if count > 1 else "") for path, place, count in places]
    last, place, count = places[-1]
    opened, rest = paths.index(last) + 1, None
    if opened < len(paths) or place < count:
        digits = any(count > 1 for *_, count in places)
        which = f"{len(names)} digits, of {opened}" if digits else f"{opened}"
        rest = f"the first {which} of {len(paths)} pictures; n takes up to 64"
    return images, names, ink, rest


def pick_positions(index, rows, count: int, split: str):
    """Positions in a split, int64 (N,), of rows of the data set's file; `src.report` names images by them too.

    rows: of the split, by position, int64; count: of the file. Raises InputError for a row that is not in 0..count-1 or
    not in the split.
    """
    import torch

    given = list(index) if isinstance(index, list | tuple) else [index]
    require(bool(given), "index=[]: give at least one row")
    file = "test" if split == "test" else "training"
    places = torch.full((count,), -1)
    places[rows] = torch.arange(len(rows))
    for row in given:
        good = is_integer(row) and 0 <= row < count
        require(good, f"index={row}: a row of the {file} file, 0 to {count - 1:,}, or a list of them")
        other = {"train": "val", "val": "train"}.get(split)
        require(places[row] >= 0, f"index={row} is no row of the {split} split: try split={other}, or it is in neither")
    return places[torch.tensor(given)]


def pick_target(target, answers, labels, info):
    """The columns that are explained, int64 (N,): the largest answer, the true class (label), or a class by name.

    target: None, label, a class, or one of these per image. Raises InputError for a class that does not exist, or
    where a number is estimated.
    """
    import torch

    largest = answers.argmax(1)
    if target is None:
        return largest
    require(not info.target, f"target={target}: this network gives one number, {info.target}: leave target out")
    given = [target] * len(answers) if isinstance(target, str | int | float) else list(target)
    require(len(given) == len(answers), f"target: {len(given)} classes for {len(answers)} images; give one, or as many")
    columns = []
    for row, name in enumerate(map(str, given)):
        if name == "label" and name not in info.class_names:
            require(labels is not None, "target=label: pictures of files have no label")
            columns.append(int(labels[row]))
        else:
            known = f"label, {', '.join(info.class_names[:40])}"
            require(name in info.class_names, f"target={name} is no class of this network; there are: {known}")
            columns.append(info.class_names.index(name))
    return torch.tensor(columns)
