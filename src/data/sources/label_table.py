"""A table of pictures and their labels: CSV with the columns file and label, and perhaps split."""

import csv
import io
import os
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
SUFFIXES = (".csv", ".tsv")  # of files that are tables, whatever they hold
NAMED = 3  # missing files that an error names


def is_label_table(path: Path) -> bool:
    """Whether a file is to be read as a table: by its name, or by a first line that has the columns file and label."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        _find_columns(_read_rows(path)[0][1], path.name)
    except (InputError, IndexError):
        return False
    return True


def read_label_table(path: Path, split_names: Mapping[str, Sequence[str]]) -> list[tuple[Path, str, str]]:
    """The file, label and split of each row; files are relative to the table's folder, and below it.

    The first line names the columns; they are separated by commas, semicolons or tabs. Without a column of splits every
    row is `train`. split_names: the words for each split, in any case.
    Raises InputError naming the first line with fewer or more cells, an empty label, an unknown split or none, a file
    outside the folder, or one that was listed before; if files are missing, their number and the first three.
    """
    name = display_path(path)
    rows = _read_rows(path)
    header = rows[0][1] if rows else []
    places = _find_columns(header, name)
    splits = {word: split for split, words in split_names.items() for word in words}
    table: list[tuple[Path, str, str]] = []
    listed: dict[Path, int] = {}
    for number, row in rows[1:]:
        if not any(cell.strip() for cell in row):
            continue
        where = f"{name}, line {number}"
        length = f"{where}: {len(row)} cell{'s' * (len(row) != 1)}, the first line has {len(header)}"
        require(len(row) > max(places.values()), length)
        require(
            not "".join(row[len(header) :]).strip(), f"{length}: put a cell that holds the separator in double quotes"
        )
        cells = {column: row[place].strip() for column, place in places.items()}
        file, shown = path.parent / _below(cells["file"], where), printable(cells["file"], 120)
        require(cells["label"] != "", f"{where}: {shown} has no label")
        word = cells.get("split", "train").lower()
        require(word != "", f"{where}: {shown} has no split: every row needs one, or leave the column out")
        require(word in splits, f"{where}: split {cells.get('split')!r}; there are {', '.join(splits)}")
        require(cells["file"] != "" and is_picture(file.name), f"{where}: {shown or 'nothing'} is no picture's name")
        require(file not in listed, f"{where}: {shown} is listed in line {listed.get(file)} already")
        listed[file] = number
        table.append((file, cells["label"], splits[word]))
    require(bool(table), f"{name} lists no pictures")
    _refuse_missing(path, listed)
    return table


def _read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """The number of the line and the cells of each row. Raises InputError."""
    name = display_path(path)
    try:
        lines = read_text(path).removeprefix("\ufeff").splitlines()
        header = lines[0] if lines else ""
        separator = max(",;\t", key=header.count)
        reader = csv.reader(io.StringIO("\n".join(lines), newline=""), delimiter=separator)
        return [(reader.line_num, row) for row in reader]
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(
            f"{name} cannot be read as a table in UTF-8: line {line} has another encoding; save it as UTF-8"
        ) from None
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{name} cannot be read as a table ({error})") from None


def _below(cell: str, where: str) -> Path:
    """A file's path as the table gives it, without `.` and `..`. Raises InputError for one that leaves the folder."""
    file = Path(os.path.normpath(system_path(cell)))
    leaves = file.is_absolute() or file.parts[:1] == ("..",)
    require(
        not leaves,
        f"{where}: {printable(cell, 120)} is not below the table's folder: files are relative to it, and below it",
    )
    return file


def _refuse_missing(path: Path, listed: Mapping[Path, int]) -> None:
    """Raise InputError if files of a table are missing. listed: file -> its line."""
    name, advice = display_path(path), "files are relative to the table's folder"
    missing = [
        (printable(os.path.relpath(file, path.parent), 120), n) for file, n in listed.items() if not file.is_file()
    ]
    if len(missing) == 1:
        raise InputError(f"{name}, line {missing[0][1]}: {missing[0][0]} is missing; {advice}")
    if missing:
        first = ", ".join(f"{file} (line {number})" for file, number in missing[:NAMED])
        more = f" and {len(missing) - NAMED:,} more" if len(missing) > NAMED else ""
        raise InputError(f"{name}: {len(missing):,} of {len(listed):,} files are missing: {first}{more}; {advice}")


def _find_columns(header: list[str], name: str) -> dict[str, int]:
    """Column -> its place in the first line. Raises InputError."""
    header = [cell.strip().lower() for cell in header]
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
