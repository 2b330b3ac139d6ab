"""How a folder of pictures is laid out: folders of classes, folders of splits, or a table of labels."""

from dataclasses import dataclass, field
from pathlib import Path

from src.data.sources.label_table import is_label_table, read_label_table
from src.data.sources.split_names import SPLIT_NAMES, guess_split, split_folders
from src.errors import InputError, choice, require
from src.files import display_path, utf8_name
from src.pictures.file_types import FORMATS
from src.pictures.listing import LeftOut, count_loose, list_pictures, visible_folders

LAYOUTS = ("auto", "classes", "splits", "table")
TABLE_NAME = "labels.csv"
OR_TABLE = f"or a {TABLE_NAME} with the columns file and label"
EXPECTED = f"give the folder that holds one folder of pictures per class, {OR_TABLE}"


@dataclass
class Layout:
    """The pictures of a folder, in a fixed order.

    class_names: sorted. splits: of train, val and test those that the folder has; without folders of splits all
    pictures are `train`. Each is a list of files, each with its class' index. left_out: what is no picture of a class.
    """

    class_names: tuple[str, ...]
    splits: dict[str, list[tuple[Path, int]]]
    left_out: LeftOut = field(default_factory=LeftOut)


def read_layout(root: Path, layout: str = "auto") -> Layout:
    """The pictures below `root`, which is a folder, or a table of labels.

    layout: classes, one folder of pictures per class; splits, such folders in train/, and in val/ and test/ if they are
    there, under any name that `src.data.sources.split_names` knows; table, labels.csv (`src.data.sources.label_table`);
    auto: table if there is one, splits if there is a train/ of folders beside no other folders than splits, or beside
    one of these, else classes.
    Raises InputError for a folder that is missing, has no class or no pictures, two folders for one split, folders that
    may be classes or splits, and classes that training does not have.
    """
    choice("data.layout", layout, LAYOUTS)
    if root.is_file():
        require(layout in ("auto", "table"), f"data.root={root} is a file: data.layout={layout} reads a folder")
        require(is_label_table(root), f"data.root={root} is a file and no table of labels: {EXPECTED}")
        return _from_table(root)
    if not root.is_dir():
        raise InputError(f"data.root={root} is no folder: {EXPECTED}")
    has_table = (root / TABLE_NAME).is_file()
    missing = f"data.root={root} has no {TABLE_NAME}, which data.layout=table reads"
    require(has_table or layout != "table", f"{missing}: add it, or give the table itself as data.root")
    if layout == "table" or (layout == "auto" and has_table):
        return _from_table(root / TABLE_NAME)
    folders = visible_folders(root)
    splits = split_folders(root, folders, guess=layout == "splits") if layout != "classes" else {}
    if layout == "splits" or (layout == "auto" and _are_splits(root, folders, splits)):
        return _from_splits(root, folders, splits)
    if layout == "auto":
        _refuse_unsure_splits(root, folders)
    left_out = LeftOut()
    names, pictures = _read_classes(root, left_out)
    return _checked(root, Layout(names, {"train": pictures}, left_out))


def _refuse_unsure_splits(root: Path, folders: list[str]) -> None:
    """Raise InputError where every folder is called like a split, and one holds folders, as a split does."""
    if folders and all(map(guess_split, folders)) and any(visible_folders(root / folder) for folder in folders):
        raise InputError(
            f"data.root={root}: {', '.join(folders[:8])} may be splits or classes: give data.layout=splits or "
            "data.layout=classes, or call the splits train, val and test"
        )


def _are_splits(root: Path, folders: list[str], splits: dict[str, str]) -> bool:
    if "train" not in splits or not visible_folders(root / splits["train"]):
        return False
    return len(splits) > 1 or len(folders) == 1


def _from_splits(root: Path, folders: list[str], splits: dict[str, str]) -> Layout:
    require("train" in splits, f"data.root={root} has no train/, which data.layout=splits needs; val/ and test/ may be")
    left_out = LeftOut(folders=[name for name in folders if name not in splits.values()])
    count_loose(root, left_out)
    names, pictures = _read_classes(root / splits["train"], left_out)
    found = {"train": pictures}
    for split in ("val", "test"):
        if split in splits:
            found[split] = _read_split(root / splits[split], names, left_out)
    return _checked(root, Layout(names, found, left_out))


def _read_split(base: Path, names: tuple[str, ...], left_out: LeftOut) -> list[tuple[Path, int]]:
    """The pictures of val/ or test/, whose classes are those of train/."""
    own, pictures = _read_classes(base, left_out)
    unknown = [name for name in own if name not in names]
    if unknown:
        raise InputError(f"{base} has classes that train does not have: {', '.join(unknown[:8])}")
    require(bool(pictures), f"{base} holds no pictures: remove it, and this split is cut from the training pictures")
    return [(path, names.index(own[label])) for path, label in pictures]


def _read_classes(base: Path, left_out: LeftOut) -> tuple[tuple[str, ...], list[tuple[Path, int]]]:
    found = visible_folders(base)
    folders = {utf8_name(folder): folder for folder in found}
    require(len(folders) == len(found), f"{display_path(base)} has two folders that read the same: rename one of them")
    names = tuple(sorted(folders))
    count_loose(base, left_out)
    return names, [(path, k) for k, name in enumerate(names) for path in list_pictures(base / folders[name], left_out)]


def _from_table(path: Path) -> Layout:
    table, left_out = read_label_table(path, SPLIT_NAMES), LeftOut()
    names = tuple(sorted({label for _, label, _ in table}))
    splits: dict[str, list[tuple[Path, int]]] = {"train": []}
    for file, label, split in table:
        splits.setdefault(split, []).append((file, names.index(label)))
    listed = {file for file, *_ in table}
    left_out.loose = sum(1 for file in list_pictures(path.parent, left_out) if file not in listed)
    left_out.others[path.suffix.lower()] -= 1  # the table itself
    left_out.others += type(left_out.others)()  # without zeros
    return _checked(path.parent, Layout(names, splits, left_out))


def _checked(root: Path, layout: Layout) -> Layout:
    if not layout.class_names:
        loose = f", and {layout.left_out.loose:,} pictures without one" if layout.left_out.loose else ""
        raise InputError(
            f"data.root={root} holds 0 class folders{loose}: give one folder of pictures per class, {OR_TABLE}"
        )
    if not any(layout.splits.values()):
        found = f" ({layout.left_out} left out)" if str(layout.left_out) else ""
        readable = ", ".join(FORMATS)
        raise InputError(f"{display_path(root)} holds no pictures in its class folders{found}: {readable} are read")
    return layout
