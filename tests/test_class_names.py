"""Class names of any script, with signs of formulas, line breaks and other bytes, from training to the report."""

import csv
import io
import json
import os
import sys

import numpy as np
import pytest
from PIL import Image

from tests.commands import run
from tests.photo_files import write_photos

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of files are Unicode"),
]
FOLDERS = ("$5", "$a_b$", "Äpfel", "苹果", "تفاح", "a\nb", os.fsdecode(b"caf\xe9"))
CLASSES = {"$5", "$a_b$", "Äpfel", "苹果", "تفاح", "a\nb", "caf\\udce9"}


def command(folder, *words):
    """Standard output of a command that succeeds and says nothing on standard error; every figure has something."""
    done = run(*words, f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    warned = [line for line in done.stderr.splitlines() if "Warning" in line or "Glyph" in line or "font" in line]
    assert warned == []
    figures = list((folder / "figures").glob("*.png"))
    assert figures
    for path in figures:
        with Image.open(path) as picture:
            assert np.asarray(picture.convert("L")).std() > 1, path.name
    return done.stdout


def test_class_names_of_any_kind_from_training_to_the_report(tmp_path):
    photos = write_photos(tmp_path / "photos", 12, names=FOLDERS)
    data = ("data=folder", f"data.root={photos}")
    short = ("model=lenet", "trainer.max_epochs=1", "trainer.accelerator=cpu", "logger=tensorboard", "dashboard=rich")
    out = command(tmp_path / "run", "src.train", *data, *short)
    shown = {name.replace("\n", "\\n") for name in CLASSES}
    assert all(f"  {name} " in out for name in shown)
    out = command(tmp_path / "evaluation", "src.evaluate", f"ckpt={tmp_path}/run", "device=cpu")
    assert all(f"  {name} " in out for name in shown)
    text = (tmp_path / "evaluation/predictions.csv").read_text(encoding="utf-8")
    assert {row["truth"] for row in csv.DictReader(io.StringIO(text, newline=""))} == CLASSES
    results = json.loads((tmp_path / "evaluation/results.json").read_text(encoding="utf-8"))
    assert set(results["per_class"]) == CLASSES
    out = command(tmp_path / "explanation", "src.explain", f"ckpt={tmp_path}/run", "n=6", "device=cpu")
    assert "nearest training images" in out
    command(tmp_path / "report", "src.report", *data, "sections=[counts,examples,outliers]")
    page = (tmp_path / "report/report.html").read_text(encoding="utf-8")
    assert all(name in page for name in shown)
