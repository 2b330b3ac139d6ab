"""What pictures show, from the command line."""

import csv
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from PIL import Image
from torch import nn

from src.cli.config import CONF, ROOT
from src.data.info import DataInfo
from src.errors import InputError
from src.inference.predict_pictures import COLUMNS, answer_pictures, as_csv, as_json, as_table, name_pictures
from src.pictures.decode import PictureError
from src.pictures.inputs import INKS as GIVEN_INKS
from src.pictures.reader import Reader
from src.predict import INKS, check
from tests.commands import output_of, start

INFO = DataInfo((1, 28, 28), tuple("0123456789"), (0.1,), (0.3,))


class Rows(nn.Module):
    """Answers with the third of the image that has most ink: 0 above, 1 in the middle, 2 below."""

    info, engine = INFO, "torch"

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        ink = images.float().mean((1, 3)) / 5
        return torch.cat([ink[:, :9].sum(1, True), ink[:, 9:19].sum(1, True), ink[:, 19:].sum(1, True),
                          torch.zeros(len(images), 7)], 1)  # fmt: skip

    def probs(self, images: torch.Tensor) -> torch.Tensor:
        return self(images).softmax(1)


def image(row: int) -> np.ndarray:
    """28x28 with a bar; at the top or the bottom with a thin line to the other end."""
    pixels = np.zeros((28, 28), np.uint8)
    pixels[4:24, 13:15] = 120
    pixels[4 + row * 7 : 10 + row * 7, 4:24] = 255
    return pixels


@pytest.fixture
def pictures(tmp_path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for row in range(3):
        Image.fromarray(image(row)).save(folder / f"{row}.png")
    (folder / "bad.png").write_text("seven")
    Image.new("L", (40, 40), 255).save(folder / "empty.png")
    return folder


def answered(named, **options) -> list[dict]:
    return [
        said for batch in answer_pictures(named, Rows(), Reader(INFO.shape, ink=False), **options) for said in batch
    ]


def test_every_picture_has_an_answer_in_its_place(pictures):
    named = name_pictures([str(pictures), str(pictures / "none.png")], lambda: b"")
    whole = answered(named)
    assert [Path(said["file"]).name for said in whole] == [
        "0.png", "1.png", "2.png", "bad.png", "empty.png", "none.png"
    ]  # fmt: skip
    assert [said.get("prediction") for said in whole[:3]] == ["0", "1", "2"]
    assert [said["error"]["code"] for said in whole if "error" in said] == ["unknown_format", "missing"]
    for options in ({"batch_size": 1}, {"batch_size": 2, "threads": 3}):
        assert answered(named, **options) == whole
    ink = [said for batch in answer_pictures(named, Rows(), Reader(INFO.shape, ink=True)) for said in batch]
    assert (ink[4]["prediction"], ink[4]["reason"]) == (None, "empty")
    assert answered([]) == []


def test_folders_and_patterns_without_pictures_say_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    found = answered(name_pictures(["folder", "nothing*.png", "gone.png"], lambda: b""))
    messages = [said["error"]["message"] for said in found]
    assert messages[0].startswith("folder is a folder that holds no pictures (.bmp, ")
    assert messages[1] == "nothing*.png matches no file"
    assert "gone.png cannot be opened (No such file" in messages[2]
    assert {said["error"]["code"] for said in found} == {"missing"}


def test_readers_that_stop_early_leave_no_thread(pictures):
    import threading

    before = threading.active_count()
    batches = answer_pictures(
        name_pictures([str(pictures)], lambda: b""), Rows(), Reader(INFO.shape, ink=False), batch_size=1
    )
    next(batches)
    batches.close()
    assert threading.active_count() == before


def test_standard_input_is_a_picture_or_names(pictures):
    content = (pictures / "0.png").read_bytes()
    assert name_pictures(["-"], lambda: content) == [("-", content)]
    lines = f"{pictures}/1.png\n\n{pictures}/[02].png\nnone.png\n".encode()
    names = [name for name, _ in name_pictures(["-"], lambda: lines)]
    assert names == [f"{pictures}/1.png", f"{pictures}/0.png", f"{pictures}/2.png", "none.png"]
    assert len(name_pictures(["-"], lambda: b"P1.png\nBM.png\n")) == 2
    assert name_pictures(["-"], lambda: b"P1 2 1 0 1\n") == [("-", b"P1 2 1 0 1\n")]
    for strange in (b"<svg></svg>", b"%PDF-1.7", b"\xff\xfe\0\1", b"a\0b"):
        (named,) = name_pictures(["-"], lambda strange=strange: strange)
        with pytest.raises(PictureError):
            Reader(INFO.shape, ink=True).page(named[1])
    for empty in (b"", b"\n \n"):
        with pytest.raises(InputError, match="images=-: standard input"):
            name_pictures(["-"], lambda empty=empty: empty)


def test_the_three_forms_say_the_same(pictures):
    Image.fromarray(np.concatenate([np.pad(image(0), 6), np.pad(image(2), 6)], 1)).save(pictures / "two, of them.png")
    named = name_pictures([str(pictures)], lambda: b"")
    found = [said for batch in answer_pictures(named, Rows(), Reader(INFO.shape, ink=True), top_k=2) for said in batch]
    assert json.loads(as_json(found)) == found
    rows = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert tuple(rows[0]) == COLUMNS
    lines = as_table(found).splitlines()
    assert len(lines) == len(found) + 1
    for row, said, line in zip(rows, found, lines[1:], strict=True):
        assert row["file"] == said["file"]
        assert line.startswith(said["file"])
        if "error" in said:
            assert (row["error"], row["notes"]) == (said["error"]["code"], said["error"]["message"])
            assert "not read: " in line
            continue
        assert row["prediction"] == (said["prediction"] or "")
        assert int(row["digits"]) == len(said["digits"]) == len([b for b in row["boxes"].split("; ") if b])
        assert (said["prediction"] or "empty") in line
    assert len(found[-1]["prediction"]) == len(found[-1]["digits"]) == 2


def test_numbers_are_answered_in_their_unit():
    class Lean(nn.Module):
        info = DataInfo((1, 28, 28), (), (0.1,), (0.3,), "angle_deg", 45.0)

        def forward(self, images):
            return torch.full((len(images), 1), 0.5)

    content = io.BytesIO()
    Image.fromarray(image(1)).save(content, "PNG")
    named = [("a", content.getvalue())]
    (found,) = [said for batch in answer_pictures(named, Lean(), Reader(Lean.info.shape, ink=True)) for said in batch]
    assert (found["prediction"], found["digits"][0]["value"]) == ("22.5", 22.5)
    assert "22.5" in as_table([found])
    assert "22.5" in as_csv([found])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("format=xml", "format=xml: one of table, json, csv"),
        ("ink=blue", "ink=blue: one of auto, mnist, none"),
        ("top_k=0", "top_k=0: 1 to 1,000"),
        ("batch_size=many", "batch_size=many: 1 to"),
        ("threshold=2", "threshold=2: a probability"),
        ("several=3", "several=3: true or false"),
        ("device=tpu", "device=tpu: one of"),
        ("threads=0", "threads=0: a whole number, 1 to 1,024, or null"),
        ("threads=100000", "threads=100000: a whole number, 1 to 1,024"),
        ("images=null", "images is missing"),
    ],
)
def test_nonsense_is_one_line_that_names_the_key(word, message):
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("predict", ["images=a.png", word])
    with pytest.raises(InputError, match=message):
        check(cfg)


def test_words_are_those_of_the_reader():
    assert INKS == GIVEN_INKS


# The command


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "trained"
    words = ["data=digits", "trainer.max_epochs=2", "trainer.accelerator=cpu", "figures=false", "threads=1"]
    process = start("src.train", *words, "test=false", f"hydra.run.dir={folder}")
    _, err = output_of(process, 200)
    assert process.returncode == 0, err
    return folder


def predict(*words: str, given: bytes = b"") -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "src.predict", *words, "threads=1"], cwd=ROOT, input=given, capture_output=True
    )


@pytest.mark.slow
def test_only_answers_are_on_standard_output(trained, pictures, tmp_path):
    words = (f"ckpt={trained}", "ink=none", f"images={pictures}", f"hydra.run.dir={tmp_path}/run")
    done = predict(*words, "format=json", "top_k=20")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert [Path(said["file"]).name for said in found] == ["0.png", "1.png", "2.png", "bad.png", "empty.png"]
    assert len(found[0]["digits"][0]["top"]) == 10
    last = done.stderr.decode().strip().splitlines()[-1]
    assert last.startswith("error: 1 of 5 pictures could not be read; the first: ")
    assert "bad.png" in last
    assert "Traceback" not in done.stderr.decode()
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "predictions.json", "results.json", "status.json", "predict.log", ".hydra",
    }  # fmt: skip
    assert json.loads((tmp_path / "run/predictions.json").read_text()) == found
    summary = json.loads((tmp_path / "run/results.json").read_text())
    assert (summary["pictures"], summary["not_read"], summary["ink"]) == (5, 1, "none")


@pytest.mark.slow
def test_standard_input_and_csv(trained, pictures, tmp_path):
    words = (f"ckpt={trained}", f"hydra.run.dir={tmp_path}/run", "format=csv", "images=-")
    done = predict(*words, given=(pictures / "1.png").read_bytes())
    assert done.returncode == 0, done.stderr
    (row,) = csv.DictReader(io.StringIO(done.stdout.decode()))
    assert (row["file"], row["width"], row["digits"]) == ("-", "28", "1")
    assert (tmp_path / "run/predictions.csv").read_bytes() == done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc says whether a process waits")
def test_ctrl_c_is_clean(trained, tmp_path):
    words = (f"ckpt={trained}", f"hydra.run.dir={tmp_path}/run", "images=-", "threads=1")
    process = start("src.predict", *words, stdin=subprocess.PIPE)  # waits for its input
    spent, before, deadline = Path(f"/proc/{process.pid}/stat"), None, time.time() + 120
    while not (tmp_path / "run/status.json").is_file() or before != (before := spent.read_text().split()[13:15]):
        assert time.time() < deadline
        time.sleep(1.5)  # it waits once it computes no more
    process.send_signal(signal.SIGINT)
    out, err = output_of(process, 60)
    assert process.returncode == 130, err
    assert err.strip() == "interrupted"
    assert out == ""
