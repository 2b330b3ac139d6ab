"""Names in files reach the terminal on one line, with nothing that steers it; special files keep nobody waiting."""

import json
import os
import sys

import pytest
import torch
from PIL import Image

from src.cli.error_line import error_line
from src.cli.overrides import command_on
from src.data.info import DataInfo
from src.data.sources.corrections import CorrectionStore
from src.errors import InputError, printable
from src.evaluation.evaluate import compute_metrics, metrics_table
from src.files import display_path, read_regular
from src.pictures.decode import PictureError, decode
from src.plotting import text_table
from tests.commands import run

HOSTILE = {
    "\x1b[2Jcat": "\\x1b[2Jcat",
    "\x1b]0;title\x07": "\\x1b]0;title\\x07",
    "two\nlines": "two\\nlines",
    "a\rb": "a\\rb",
    "\x9b31m": "\\x9b31m",
    "\u202eevil": "\\u202eevil",
    "line\u2028separator": "line\\u2028separator",
    "caf\udce9": "caf\\udce9",
}


def is_harmless(text: str) -> bool:
    return all(c.isprintable() or c in "\n\xa0" for c in text)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_escaped_wherever_it_is_printed(name, tmp_path):
    assert printable(name) == HOSTILE[name]
    assert error_line(InputError(f"base={name}: no file")) == f"base={HOSTILE[name]}: no file"
    table = text_table([["file", "prediction"], [name, "7"]])
    assert len(table.splitlines()) == 2 and is_harmless(table)
    info = DataInfo((1, 1, 1), (name, "other"), (0.5,), (0.5,))
    shown = metrics_table(compute_metrics(torch.eye(2), torch.tensor([0, 1]), info))
    assert f"  {HOSTILE[name]}" in shown and is_harmless(shown)
    assert is_harmless(display_path(tmp_path / name)) and is_harmless(command_on(tmp_path / name, "evaluate", "ckpt"))


def test_what_is_plain_stays_and_what_is_long_is_shortened():
    for text in ("数字 7", "café", "a\xa0b", "C:\\x", "it's"):
        assert printable(text) == text
    assert printable("x" * 500, 60) == f"{'x' * 30}…{'x' * 30}"


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes in folders")
def test_pipes_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(OSError, match="no regular file"):
        read_regular(tmp_path / "pipe.png", 9)
    with pytest.raises(PictureError, match="no regular file"):
        decode(tmp_path / "pipe.png")
    with pytest.raises(InputError, match="no regular file"):
        CorrectionStore(tmp_path / "pipe.png").count()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes in folders, no names of bytes")
def test_a_pipe_and_a_name_of_bytes_lose_no_prediction(trained, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a.png", b"caf\xe9.png".decode(errors="surrogateescape"), "two\nlines.png"):
        Image.new("L", (28, 28), 255).save(os.fsencode(folder / name).decode(errors="surrogateescape"), format="PNG")
    os.mkfifo(folder / "pipe.png")
    words = [f"ckpt={trained}", "threads=1", f"hydra.run.dir={tmp_path}/run"]
    done = run("src.predict", *words, f"images={folder}", "format=json")
    assert done.returncode == 0, done.stderr
    records = json.loads((tmp_path / "run/predictions.json").read_text())
    names = sorted(record["file"].rpartition("/")[2] for record in records)
    assert names == ["a.png", "caf\\udce9.png", "two\nlines.png"]
    done = run("src.predict", *words, f"images={folder}/pipe.png")
    assert done.returncode == 1 and "pipe.png" in done.stderr
