"""Rooms import only from rooms below them, and stay small."""

import ast
import json
import re
import subprocess
from collections import defaultdict
from importlib import import_module
from importlib.util import find_spec

import pytest

from src.cli.config import ROOT

SRC = ROOT / "src"
FILES = sorted(SRC.rglob("*.py"))
COMMANDS = ("train", "evaluate", "compare", "explain", "report", "export", "serve", "compress", "predict")
# A room imports from itself, from rooms of lower tiers, and from rooms that stand before it in its own tier.
TIERS = [
    ("errors", "plotting", "signals"),
    ("files", "models", "pictures"),
    ("data", "dashboard"),
    ("finetune", "inference", "evaluation", "insight", "dataset_report"),
    ("model_files",),
    ("cli", "compression", "server"),
    ("training", "sweep"),
    COMMANDS,
]
ORDER = [room for tier in TIERS for room in tier]
HYDRA = (*COMMANDS, "cli", "sweep", "training/build")
LIGHTNING = ("data/datamodule", "training", "model_files/checkpoint", "dashboard")
LONGEST_FILE, LONGEST_FUNCTION = 250, 60
# Functions that several rooms have because they keep one contract, which is said here.
SAME_CONTRACT = {"main": "the entry of a command"}


def imports(path) -> list[str]:
    """Every module of src that a file names, imports within functions and for types included."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(node.module or "")
            found += [f"{node.module}.{alias.name}" for alias in node.names if (node.module or "").startswith("src")]
    return found


def stem(path) -> str:
    return str(path.relative_to(SRC).with_suffix(""))


def room_of(path) -> str:
    return stem(path).split("/")[0]


def functions(path):
    """Every function of a file, methods and inner ones included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_src_holds_the_rooms_and_nothing_else():
    there = {path.name.removesuffix(".py") for path in SRC.iterdir() if path.name != "__pycache__"}
    assert there - {"__init__"} == set(ORDER)
    assert len(TIERS) == 8


@pytest.mark.parametrize("path", [p for p in FILES if p != SRC / "__init__.py"], ids=stem)
def test_imports_go_down(path):
    own = room_of(path)
    for module in imports(path):
        top, _, rest = module.partition(".")
        if top == "src" and rest:
            theirs = rest.split(".")[0]
            if theirs != own:
                assert ORDER.index(theirs) < ORDER.index(own), f"{path} imports {module}"
                assert theirs not in COMMANDS, f"{path} imports the command {module}"
        if top in ("hydra", "omegaconf"):
            assert stem(path).startswith(HYDRA), f"{path} imports {module}"
        if top == "lightning":
            assert stem(path).startswith(LIGHTNING), f"{path} imports {module}"


def test_no_file_imports_itself_by_way_of_others():
    names = {f"src.{stem(path).replace('/', '.').removesuffix('.__init__')}": path for path in FILES}
    edges = {name: {m for m in imports(path) if m in names and m != name} for name, path in names.items()}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join([*above[above.index(name) :], name])
        if name not in done:
            for other in sorted(edges[name]):
                visit(other, (*above, name))
            done.add(name)

    for name in sorted(edges):
        visit(name, ())


@pytest.mark.parametrize("path", FILES, ids=stem)
def test_files_and_functions_stay_small(path):
    assert len(path.read_text().splitlines()) <= LONGEST_FILE
    long = [f.name for f in functions(path) if f.end_lineno - f.lineno + 1 > LONGEST_FUNCTION]
    assert long == []


def test_every_file_says_what_it_is_for():
    assert [str(path) for path in FILES if not ast.get_docstring(ast.parse(path.read_text()))] == []


def public(path):
    """Functions and classes of a file that others may use."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node


def test_every_public_thing_has_a_docstring():
    bare = [f"{stem(path)}.{node.name}" for path in FILES for node in public(path) if not ast.get_docstring(node)]
    assert bare == []


def test_a_public_name_means_one_thing():
    places = defaultdict(list)
    for path in FILES:
        for node in public(path):
            places[node.name].append(stem(path))
    assert {name: found for name, found in places.items() if len(found) > 1 and name not in SAME_CONTRACT} == {}


def test_instantiate_has_one_caller():
    callers = [stem(path) for path in FILES if re.search(r"hydra\S*\.instantiate", path.read_text())]
    assert callers == ["cli/config"]


def test_no_room_rewrites_the_command_line():
    writes = re.compile(r"sys\.argv(\[[^\]]*\])? *[+|]?=[^=]")
    # One context manager presents words to Hydra and to Lightning's launcher, which read sys.argv, and puts it back.
    assert [stem(path) for path in FILES if writes.search(path.read_text())] == ["cli/process"]


def test_what_is_imported_from_the_project_exists():
    """Benchmarks, the notebooks and the README's Python run seldom: a name that moved must not wait for that."""
    texts = {
        str(path): path.read_text()
        for folder in ("benchmarks", "hydra_plugins")
        for path in (ROOT / folder).rglob("*.py")
    }
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
        texts[str(path)] = "\n".join(
            line for cell in cells for line in "".join(cell["source"]).splitlines() if line[:1] not in "%!"
        )
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)):
        texts[f"README.md, block {number}"] = block
    imported = {
        (where, node.module, alias.name)
        for where, text in texts.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("src")
        for alias in node.names
    }
    assert len({where for where, _, _ in imported}) > 15
    missing = [(w, m, n) for w, m, n in imported if not hasattr(import_module(m), n) and find_spec(f"{m}.{n}") is None]
    assert missing == []


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
