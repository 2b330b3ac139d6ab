"""The packages whose classes a model file may name beside the project's own: the user names them, never a file."""

import importlib
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any

from src.errors import InputError, printable, require
from src.model_files.renamed import import_path

VARIABLE = "MNIST_TRUST"  # of the environment: names between commas, trusted by every command
NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
# Libraries that can run anything; none of them holds a user's own network.
LIBRARIES = frozenset({
    "src", "torch", "torchvision", "torchmetrics", "lightning", "lightning_fabric", "pytorch_lightning", "numpy",
    "scipy", "sklearn", "joblib", "hydra", "hydra_plugins", "omegaconf", "PIL", "matplotlib", "yaml", "onnx",
    "setuptools", "pip", "pkg_resources", "mnist_lightning_hydra",
})  # fmt: skip
# What a recorded command may name without trust: classes of these packages, and the project's own schedules.
KNOWN_CLASSES = (
    "src.models.", "src.data.", "src.training.", "src.finetune.", "src.dashboard.", "torch.optim.", "torch.nn.",
    "torchvision.transforms.", "torchmetrics.", "lightning.pytorch.",
)  # fmt: skip
KNOWN_FUNCTIONS = "src.training.schedules."

_typed: list[str] = []  # one command runs in a process, and its threads build networks too


@contextmanager
def trusted(packages: str | Sequence[str] | None) -> Iterator[None]:
    """Within this, files may name classes of these packages, as the key `trust` gives them.

    Raises InputError for anything but names of packages that can be imported, and for a library that runs any code.
    """
    added = check_packages(packages)
    _typed.extend(added)
    try:
        yield
    finally:
        for name in added:
            _typed.remove(name)


def check_packages(packages: object) -> list[str]:
    """The names in a value of the key `trust`. Raises InputError as `trusted` does."""
    names = [packages] if isinstance(packages, str) else [] if packages is None else packages
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise InputError(f"trust={printable(packages, 100)}: a list of packages, such as trust=[mypackage]")
    for name in names:
        _check_name(name, f"trust={printable(name, 100)}")
        found = find_spec(name.partition(".")[0]) is not None
        advice = "it is looked for in the current folder, in PYTHONPATH and among the installed packages"
        require(found, f"trust={name}: there is no package of this name; {advice}")
    return list(names)


def _check_name(name: str, given: str) -> None:
    require(bool(NAME.fullmatch(name)), f"{given}: the name that `import` takes, such as mypackage, and no path")
    top = name.partition(".")[0]
    standard = top in sys.stdlib_module_names or top in sys.builtin_module_names
    require(not standard, f"{given}: {top} belongs to Python itself; name the package of your own network")
    require(top not in LIBRARIES, f"{given}: {top} is a library that can run anything; name the package of your own")


def trusted_names() -> list[str]:
    """The packages that are trusted now: those typed, and those of the environment variable."""
    given = [name.strip() for name in os.environ.get(VARIABLE, "").split(",")]
    for name in filter(None, given):
        _check_name(name, f"{VARIABLE}={printable(name, 100)} in the environment")
    return [*_typed, *filter(None, given)]


def is_trusted(target: str) -> bool:
    """Whether a class stands in a trusted package, or in a part of one: mypackage has mypackage.nets, no mypackage2."""
    return any(target.startswith(f"{name}.") for name in trusted_names())


def trust_advice(target: str) -> str:
    """What to type so that files may name `target`; empty for what is never trusted."""
    top = target.partition(".")[0]
    try:
        _check_name(target, "")
    except InputError:
        return ""
    return f"if it is your own, give trust=[{top}], or set {VARIABLE}={top} in the environment"


def find_object(target: str, given: str) -> Any:
    """What a `_target_` names. given: where it stands, for the error.

    Raises InputError if its module cannot be imported, for whatever reason, or has no such name.
    """
    module_name, dot, name = target.rpartition(".")
    require(bool(dot) and bool(NAME.fullmatch(target)), f"{given}: the path of a class, such as mypackage.nets.MyNet")
    try:
        module = importlib.import_module(import_path(f"{module_name}.").rstrip("."))
    except ModuleNotFoundError as error:
        missing = str(error.name)
        if module_name != missing and not module_name.startswith(f"{missing}."):
            raise InputError(
                f"{given}: {module_name} cannot be imported: it needs {missing}, which is missing"
            ) from None
        where = "the current folder, PYTHONPATH and the installed packages"
        raise InputError(f"{given}: there is no module {missing} in {where}") from None
    except Exception as error:  # whatever a user's module raises
        frame = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {printable(error, 200)}, {os.path.basename(frame.filename)}:{frame.lineno}"
        raise InputError(f"{given}: {module_name} cannot be imported ({reason})") from None
    found = getattr(module, name, None)
    if found is None:
        public = [key for key, value in vars(module).items() if isinstance(value, type) and key[:1] != "_"]
        own = [key for key in public if getattr(module, key).__module__ == module_name] or public
        near = get_close_matches(name, own, n=3) or own[:12]
        raise InputError(f"{given}: {module_name} has no {name}; it has {', '.join(near) or 'no classes'}")
    return found


def check_recorded(config: Any, given: str) -> None:
    """Raise InputError for a class in a recorded config, at any depth, that is neither the project's nor trusted.

    given: where it was recorded. Functions are refused but the project's own schedules.
    """
    for target in _targets(config):
        if is_trusted(target):
            continue
        known = target.startswith((*KNOWN_CLASSES, KNOWN_FUNCTIONS))
        found = find_object(target, f"{given} asks for {target}") if known else None
        home = f"{getattr(found, '__module__', None)}."
        homes = tuple(map(import_path, KNOWN_CLASSES)) if isinstance(found, type) else import_path(KNOWN_FUNCTIONS)
        fine = home.startswith(homes)
        advice = trust_advice(target)
        require(fine, f"{given} asks for {target}, which is not part of this project" + f": {advice}" * bool(advice))


def _targets(config: Any) -> Iterator[str]:
    if isinstance(config, dict):
        for key, value in config.items():
            if key == "_target_" and value is not None:
                yield str(value)
            else:
                yield from _targets(value)
    elif isinstance(config, list):
        for value in config:
            yield from _targets(value)
