"""A table of pictures and their labels: CSV with the columns file and label, and perhaps split."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from src.errors import InputError, printable, require
from src.files import display_path, read_text, system_path
from src.pictures.listing import is_picture

COLUMNS = {
    "file": ("file", "filename", "file_name", "path", "image", "picture"),
    "label": ("label", "class", "class_name", "target", "category"),
    "split": ("split", "subset", "set"),
}


def read_label_table(path: Path, split_names: Mapping[str, Sequence[str]]) -> list[tuple[Path, str, str]]:
    """The file, label and split of each row; files are relative to the table's folder.

    The first line names the columns; they are separated by commas, semicolons or tabs. Without a column of splits every
    row is `train`. split_names: the words for each split, in any case.
    Raises InputError naming the first line with a missing file, an empty label, an unknown split, or a file that was
    listed before.
    """
    name = display_path(path)
    try:
        lines = read_text(path).removeprefix("\ufeff").splitlines()
        header = lines[0] if lines else ""
        separator = max(",;\t", key=header.count)
        rows = list(csv.reader(io.StringIO("\n".join(lines), newline=""), delimiter=separator))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{name} cannot be read as a table in UTF-8 ({error})") from None
    places = _find_columns([cell.strip().lower() for cell in rows[0]] if rows else [], name)
    splits = {word: split for split, words in split_names.items() for word in words}
    table: list[tuple[Path, str, str]] = []
    listed: dict[Path, int] = {}
    for number, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        where = f"{name}, line {number}"
        require(len(row) > max(places.values()), f"{where}: {len(row)} cells, the first line has {len(rows[0])}")
        cells = {column: row[place].strip() for column, place in places.items()}
        file = path.parent / system_path(cells["file"])
        split = splits.get(cells.get("split", "train").lower())
        shown = printable(cells["file"], 120)
        require(cells["label"] != "", f"{where}: {shown} has no label")
        require(split is not None, f"{where}: split {cells.get('split')!r}; there are {', '.join(splits)}")
        require(cells["file"] != "" and is_picture(file.name), f"{where}: {shown or 'nothing'} is no picture's name")
        require(file.is_file(), f"{where}: {shown} is missing; files are relative to the table's folder")
        require(file not in listed, f"{where}: {shown} is listed in line {listed.get(file)} already")
        listed[file] = number
        table.append((file, cells["label"], split or "train"))
    require(bool(table), f"{name} lists no pictures")
    return table


def _find_columns(header: list[str], name: str) -> dict[str, int]:
    """Column -> its place."""
    places: dict[str, int] = {}
    for column, words in COLUMNS.items():
        found = [place for place, cell in enumerate(header) if cell in words]
        require(len(found) < 2, f"{name}: several columns for {column}: {', '.join(header[place] for place in found)}")
        if found:
            places[column] = found[0]
    missing = [column for column in ("file", "label") if column not in places]
    require(
        not missing, f"{name}: its first line has no {' and no '.join(missing)}: give file,label or file,label,split"
    )
    return places
