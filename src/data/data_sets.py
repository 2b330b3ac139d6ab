"""A scenario of several data sets, one after another."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import torch

from src.data.scenario import Scenario, TaskSource, read_version
from src.data.source import Source, Split, join
from src.data.sources.feedback import FeedbackSource
from src.data.sources.registry import LOADERS, MIX_KEYS, load_dataset, load_feedback
from src.data.transforms import transform_source
from src.errors import InputError, as_typed, printable, require

CHANGES = ("ink", "classes", "quarter_turns")  # options of every data set
OWN_DATA = ("folder", "own", "feedback")  # data sets of one's own
SCANS = ("usps", "digits")  # data sets that conf/data brings to MNIST's form


class DataSets(Scenario):
    """One data set after another, the first of them that of `data=`.

    then: the others: names of data sets, folders of pictures, stores of corrections (feedback.sqlite), or mappings with
    a `name` and the options of its loader, `ink`, `classes` and `quarter_turns`. Classes of one name are one class.
    An empty list goes with a network that has learned others before (init_from).
    Known data sets take root, download and mirrors from `data=`, folders its size and channels, unless told otherwise.
    """

    def __init__(self, then: Sequence | None = None, **options: Any):
        super().__init__(**options)
        advice = (
            "list the data sets or folders that come after data=, one task each, as [usps,my/pictures]; or none, []"
        )
        require(isinstance(then, list | tuple), f"scenario.then={as_typed(then)}: {advice}")
        self.then: Sequence = then or ()

    @property
    def num_tasks(self) -> int:
        return 1 + len(self.then)

    def divide(self, source: Source, options: Mapping[str, Any]) -> TaskSource:
        sources = [source, *(_load(entry, options) for entry in self.then)]
        names = tuple(dict.fromkeys(name for one in sources for name in one.class_names))
        labels = [torch.tensor([names.index(name) for name in one.class_names]) for one in sources]
        task_names = (_name(options), *map(_entry_name, self.then))

        def read(split: str) -> Split:
            parts: list[Split] = []
            for task, (one, new_labels) in enumerate(zip(sources, labels, strict=True)):
                data = _read_further(one, split, parts[0], task_names[task]) if parts else getattr(one, split)()
                shapes = [tuple(images.shape[1:]) for images in (data.images, (parts or [data])[0].images)]
                require(
                    shapes[0] == shapes[1],
                    f"scenario.then: {task_names[task]} has images of {_size(shapes[0])}, {task_names[0]} of "
                    f"{_size(shapes[1])} (channels, height, width): all tasks need one size; folders have "
                    "data.size and data.channels",
                )
                tasks = torch.full((len(data.labels),), task)
                parts.append(replace(data, labels=new_labels[data.labels], tasks=tasks))
            return _join_all(parts)

        return _JoinedTasks(
            names,
            lambda: read("train"),
            lambda: read("test"),
            version=read_version(source, *(f"{one.version}" for one in sources[1:]), repr(self.then)),
            original=source,
            task_names=task_names,
            task_classes=tuple(tuple(sorted(one.tolist())) for one in labels),
            divide=partial(self.divide, options=options),
        )


@dataclass(frozen=True, kw_only=True)
class _JoinedTasks(TaskSource):
    """Several data sets, one after another."""

    def read_as(self, shape: tuple[int, int, int]) -> Source:
        return self.divide(self.original.read_as(shape))


class Renewal(Scenario):
    """The data that a network was trained on, then the corrections of its users, which alone are new: `data=feedback`.

    epochs: None for trainer.max_epochs.
    """

    def __init__(self, epochs: int | None = None):
        super().__init__(epochs, learned=1)

    @property
    def num_tasks(self) -> int:
        return 2

    def divide(self, source: Source, options: Mapping[str, Any]) -> TaskSource:
        if not isinstance(source, FeedbackSource):
            raise InputError(f"scenario=renewal is of corrections: give data=feedback, not data={options['name']}")
        classes = tuple(range(len(source.class_names)))
        return TaskSource(
            source.class_names,
            source.renewal_train,
            source.renewal_test,
            version=read_version(source, "renewal"),
            original=source,
            task_names=(source.corrections.network.describe_data(), "corrections"),
            task_classes=(classes, classes),
            divide=partial(self.divide, options=options),
        )


def _read_further(source: Source, split: str, first: Split, task: str) -> Split:
    """A split of a data set after the first, its pictures as large as those of the first."""
    channels, height, width = first.images.shape[1:]
    with _errors_of(task):
        data = getattr(source.read_as((channels, height, width)), split)()
        few = source.few_labels  # corrections, of the classes that were corrected
        found = set(data.labels.unique().tolist())
        empty = ", ".join(printable(name) for label, name in enumerate(source.class_names) if label not in found)
        require(split == "test" or few or not empty, f"no training images of {empty}: give classes=<those to keep>")
    return data


def _load(entry: object, first: Mapping[str, Any]) -> Source:
    given = entry if isinstance(entry, Mapping) else _in_full(str(as_typed(entry)))
    require("name" in given, f"scenario.then: {as_typed(entry)} has no name of a data set: {', '.join(LOADERS)}")
    options = {**_defaults(str(given["name"]), first), **given}
    with _errors_of(_entry_name(entry)):
        if options["name"] == "feedback":
            return _load_corrections({key: value for key, value in options.items() if key != "name"}, first)
        changes = {key: options.pop(key) for key in CHANGES if key in options}
        _check_options(options)
        return transform_source(load_dataset(**options), **changes)


def _check_options(options: Mapping[str, Any]) -> None:
    loader = LOADERS.get(str(options["name"]))
    if loader is None:
        return  # which load_dataset tells
    parameters = signature(loader).parameters
    needed = [key for key, one in parameters.items() if one.default is Parameter.empty and one.kind != one.VAR_KEYWORD]
    require(options.keys() >= set(needed), f"it needs {', '.join(needed)}")
    if all(one.kind != one.VAR_KEYWORD for one in parameters.values()):
        unknown = [str(key) for key in options if key not in ("name", *parameters)]
        require(not unknown, f"no option {', '.join(unknown)}: there are {', '.join((*parameters, *CHANGES))}")


@contextmanager
def _errors_of(task: str) -> Iterator[None]:
    """Let an error of a further data set say whose it is: its options are not those of `data=`."""
    try:
        yield
    except InputError as error:
        own = re.sub(r"\bdata\.(?=\w)", "", str(error))
        raise InputError(f"scenario.then, {task}: {own} (options of a task: {{name:usps,root:...}})") from None


def _load_corrections(options: Mapping[str, Any], first: Mapping[str, Any]) -> Source:
    """Corrections of networks that were trained on the first data set, as a task of their own."""
    described = {key: value for key, value in first.items() if key in MIX_KEYS}
    loader = {key: value for key, value in first.items() if key not in (*MIX_KEYS, "download", "mirrors")}
    shared = {key: first[key] for key in ("download", "mirrors") if key in first}
    source = load_feedback(**{"mix": {**described, "options": loader or None}, **shared, **options})
    assert isinstance(source, FeedbackSource)
    return source.corrections_alone()


def _in_full(word: str) -> dict[str, Any]:
    store = Path(word).expanduser()
    if store.suffix == ".sqlite" or (store / "feedback.sqlite").is_file():
        return {"name": "feedback", "root": word}
    known = [name for name in LOADERS if name not in OWN_DATA]
    if word in known:
        return {"name": word}
    choices = f"no folder, no store of corrections and no data set ({', '.join(known)})"
    require(store.is_dir(), f"scenario.then: {word} is {choices}")
    return {"name": "folder", "root": word}


def _defaults(name: str, first: Mapping[str, Any]) -> dict[str, Any]:
    """What a further data set takes from the first where it is not told."""
    if name == "folder":
        return {key: first[key] for key in ("size", "channels", "on_error") if key in first}
    if name in OWN_DATA:
        return {}
    known = {key: first[key] for key in ("root", "download", "mirrors") if key in first}
    return {**known, **({"ink": "mnist"} if name in SCANS else {})}


def _join_all(parts: Sequence[Split]) -> Split:
    whole = parts[0]
    for part in parts[1:]:
        whole = join(whole, part)
    return whole


def _name(options: Mapping) -> str:
    root = options.get("root")
    return Path(str(root)).name if options.get("name") == "folder" and root else str(options.get("name", "data"))


def _entry_name(entry: object) -> str:
    if isinstance(entry, Mapping):
        return _name(entry)
    typed = str(as_typed(entry))
    return typed if typed in LOADERS else Path(typed).name


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
