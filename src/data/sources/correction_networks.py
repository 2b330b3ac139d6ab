"""The networks whose answers were corrected: their classes, and the data they were trained on."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from src.errors import printable


class CorrectedNetwork(NamedTuple):
    """What tells networks apart: equally named classes of other data, ratings 0 to 9 and digits, are other classes.

    data_name, data_root: data.name and data.root of its training, as they were typed; of a network that has learned
    corrections, those of its data.mix, so that its later generations are the same. None where its file does not say.
    """

    class_names: tuple[str, ...]
    data_name: str | None = None
    data_root: str | None = None

    def has_classes_of(self, other: "CorrectedNetwork") -> bool:
        """Whether both have the same classes, in any order."""
        return set(self.class_names) == set(other.class_names)

    def has_data_of(self, other: "CorrectedNetwork") -> bool:
        """Whether both were trained on the same data, as far as is known.

        The name of a published data set says what it is wherever its files are; of folders of pictures the place does.
        """
        if self.data_name is None or other.data_name is None:
            return True
        if self.data_name != other.data_name:
            return False
        if self.data_name != "folder" or self.data_root is None or other.data_root is None:
            return True
        return self.data_root == other.data_root or _resolve(self.data_root) == _resolve(other.data_root)

    def describe_data(self) -> str:
        """The data, for a message."""
        data = f"{self.data_name} in {self.data_root}" if self.data_name == "folder" else str(self.data_name)
        return printable(data, 200)


def describe_network(class_names: Iterable[str], trained: Mapping[str, Any]) -> CorrectedNetwork:
    """The network of these classes; trained: the data options in its file, which may hold anything."""
    if trained.get("name") == "feedback":
        mix = trained.get("mix")
        trained = mix if isinstance(mix, Mapping) else {}
    # A folder may be called 2024.
    name, root = (str(trained[key]) if isinstance(trained.get(key), str | int) else None for key in ("name", "root"))
    return CorrectedNetwork(tuple(class_names), name, root)


def to_columns(network: CorrectedNetwork) -> tuple[str, str | None, str | None]:
    """The values of a row of the store."""
    return json.dumps(network.class_names), network.data_name, network.data_root


def from_columns(classes: object, data_name: object, data_root: object) -> CorrectedNetwork:
    """The network of a row of the store. Raises ValueError for values that `to_columns` does not write."""
    try:
        names: Any = json.loads(classes) if isinstance(classes, str) else None
    except RecursionError:
        names = None
    good = isinstance(names, list) and bool(names) and all(isinstance(name, str) for name in names)
    if not good or not isinstance(data_name, str | None) or not isinstance(data_root, str | None):
        raise ValueError("a network has values of other types")
    return CorrectedNetwork(tuple(names), data_name, data_root)


def _resolve(root: str) -> Path | str:
    try:
        return Path(root).expanduser().resolve()
    except (OSError, RuntimeError, ValueError):  # a home that does not exist, a loop of links, a null character
        return root
