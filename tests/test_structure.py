"""Rooms import only from rooms before them, and stay small."""

import ast
import re
import subprocess

import pytest

from src.cli.config import ROOT

SRC = ROOT / "src"
FILES = sorted(SRC.rglob("*.py"))
COMMANDS = ("train", "evaluate", "compare", "explain", "report", "export", "serve", "compress", "predict")
# Each room may import from itself and from rooms above it.
ROOMS = [
    ("errors",),
    ("monitor", "runs", "kinds"),
    ("data",),
    ("answers",),
    ("models",),
    ("finetune",),
    ("metrics",),
    ("losses", "optimizers", "mixing", "progress"),
    ("insight",),
    ("survey",),
    ("task",),
    ("checkpoint",),
    ("exported",),
    ("evaluation", "calibration", "explanation", "prediction", "loggers", "callbacks", "distillation"),
    ("compression",),
    ("exhibits",),
    ("server",),
    ("manual",),
    ("run",),
    ("resume", "start", "transfer", "machine", "parallel", "subject"),
    ("results",),
    ("sweep",),
    ("training",),
    COMMANDS,
]
HYDRA = {"manual", "run", "start", "machine", "parallel", "results", "subject", "training", *COMMANDS}
LIGHTNING = {"data/module", "task", "callbacks", "loggers", "checkpoint", "insight/dashboard", "results", "training"}
LIGHTNING |= {"insight/live", "insight/lr_range", "progress"}


def room_of(name: str) -> int:
    return next(index for index, room in enumerate(ROOMS) if name in room)


def imports(path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(node.module or "")
            found += [f"{node.module}.{alias.name}" for alias in node.names if node.module == "src"]
    return found


def stem(path) -> str:
    return str(path.relative_to(SRC).with_suffix(""))


@pytest.mark.parametrize("path", [p for p in FILES if p != SRC / "__init__.py"], ids=stem)
def test_imports_go_one_way(path):
    own = stem(path).split("/")[0]
    for module in imports(path):
        top = module.split(".")[0]
        if top == "src" and module != "src":
            theirs = module.split(".")[1]
            assert room_of(theirs) <= room_of(own), f"{path} imports {module}"
            assert theirs not in COMMANDS or theirs == own, f"{path} imports the command {module}"
        if top in ("hydra", "omegaconf"):
            assert stem(path) in HYDRA or own == "sweep", f"{path} imports {module}"
        if top == "lightning":
            assert stem(path) in LIGHTNING, f"{path} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=stem)
def test_files_stay_small(path):
    assert len(path.read_text().splitlines()) <= 250


def test_every_file_says_what_it_is_for():
    assert [str(path) for path in FILES if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_every_public_thing_has_a_docstring():
    bare = []
    for path in FILES:
        tree = ast.parse(path.read_text())
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                bare += [f"{stem(path)}.{node.name}"] if not ast.get_docstring(node) else []
    assert bare == []


def test_instantiate_has_one_caller():
    callers = [stem(path) for path in FILES if "instantiate(" in path.read_text()]
    assert callers == ["run"]


def test_no_room_is_called_nothing():
    assert not {"utils", "helpers", "common", "base", "components"} & {part for path in FILES for part in path.parts}


def test_the_repository_names_no_machine():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    wrong = re.compile(r"/(?:root|home|work)/")
    assert [
        name
        for name in tracked
        if wrong.search((ROOT / name).read_text(errors="ignore")) and "test_structure" not in name
    ] == []
