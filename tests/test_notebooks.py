"""Notebooks run from top to bottom, say the same as when they were stored, and keep to themselves."""

import ast
import re

import pytest

from src.cli.config import ROOT

nbformat = pytest.importorskip("nbformat", reason="the notebooks extra is not installed")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def read(path):
    return nbformat.read(path, as_version=4)


def code(path) -> list:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def test_there_is_one_for_each_step():
    assert [path.stem.partition("_")[0] for path in NOTEBOOKS] == [str(n) for n in range(1, len(NOTEBOOKS) + 1)]
    assert len(NOTEBOOKS) >= 6


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_with_its_outputs_and_without_a_machine(path):
    cells = code(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run once, from the top"
    outputs = [output for cell in cells for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs), "a picture"
    assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in outputs)
    assert not re.search(r"/(?:root|home|work|tmp)/", path.read_text())
    assert path.stat().st_size < 3_000_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_defines_nothing_reusable_and_asks_a_question(path):
    cells = code(path)
    for cell in cells:
        kinds = [type(node) for node in ast.walk(ast.parse(cell.source.removeprefix("%matplotlib inline\n")))]
        assert ast.FunctionDef not in kinds and ast.ClassDef not in kinds
    assert any("src." in cell.source for cell in cells), "it uses the library"
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in cells) == 1
    words = [cell.source.lower() for cell in read(path).cells if cell.cell_type == "markdown"]
    assert any(re.match(r"#+ (your turn|question)", text) for text in words)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore")  # the kernel's own, about its sockets
def test_it_runs_from_top_to_bottom(path):
    from nbclient import NotebookClient

    notebook = read(path)
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(path.parent)}}).execute()
    for stored, cell in zip(read(path).cells, notebook.cells, strict=True):
        assert kinds(stored) == kinds(cell), cell.source


def kinds(cell) -> list[str]:
    """What a cell gives: text and pictures; printed text comes in one piece or in several."""
    outputs = cell.get("outputs", [])
    texts = ["stream"] if any(output.output_type == "stream" for output in outputs) else []
    return texts + sorted("+".join(sorted(output.data)) for output in outputs if "data" in output)
