"""python -m src.predict as a user types it."""

import csv
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from src.cli.config import CONF, ROOT
from src.errors import InputError
from src.pictures.inputs import INKS as READER_INKS
from src.predict import INKS, _check_options
from tests.commands import output_of, start
from tests.picture_files import write_pictures


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("format=xml", "format=xml: one of table, json, csv"),
        ("ink=blue", "ink=blue: one of auto, mnist, none"),
        ("top_k=0", "top_k=0: a whole number, 1 to 1,000"),
        ("batch_size=many", "batch_size=many: a whole number, 1 to"),
        ("threshold=2", "threshold=2: a number, 0 to 1"),
        ("several=3", "several=3: true or false"),
        ("base=3", "base=3: a file or a run's folder, or null"),
        ("device=tpu", "device=tpu: one of"),
        ("threads=0", "threads=0: a whole number, 1 to 1,024, or null"),
        ("threads=100000", "threads=100000: a whole number, 1 to 1,024"),
        ("images=null", "images is missing"),
    ],
)
def test_an_invalid_option_is_one_line_that_names_the_key(word, message):
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("predict", ["images=a.png", word])
    with pytest.raises(InputError, match=message):
        _check_options(cfg)


def test_the_command_knows_the_inks_of_the_reader():
    assert INKS == READER_INKS


@pytest.fixture
def pictures(tmp_path) -> Path:
    return write_pictures(tmp_path / "pictures")


def predict(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "src.predict", *words, "threads=1"], cwd=ROOT, input=stdin, capture_output=True
    )


@pytest.mark.slow
def test_standard_output_holds_only_predictions(trained, pictures, tmp_path):
    words = (f"ckpt={trained}", "ink=none", f"images={pictures}", f"hydra.run.dir={tmp_path}/run")
    done = predict(*words, "format=json", "top_k=20")
    assert done.returncode == 1
    records = json.loads(done.stdout)
    assert [Path(record["file"]).name for record in records] == ["0.png", "1.png", "2.png", "bad.png", "empty.png"]
    assert len(records[0]["digits"][0]["top"]) == 10
    last = done.stderr.decode().strip().splitlines()[-1]
    assert last.startswith("error: 1 of 5 pictures could not be read; the first: ")
    assert "bad.png" in last
    assert "Traceback" not in done.stderr.decode()
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "predictions.json", "results.json", "status.json", "predict.log", ".hydra",
    }  # fmt: skip
    assert json.loads((tmp_path / "run/predictions.json").read_text()) == records
    summary = json.loads((tmp_path / "run/results.json").read_text())
    assert (summary["pictures"], summary["not_read"], summary["ink"]) == (5, 1, "none")


@pytest.mark.slow
def test_a_picture_on_standard_input_becomes_csv(trained, pictures, tmp_path):
    words = (f"ckpt={trained}", f"hydra.run.dir={tmp_path}/run", "format=csv", "images=-")
    done = predict(*words, stdin=(pictures / "1.png").read_bytes())
    assert done.returncode == 0, done.stderr
    (row,) = csv.DictReader(io.StringIO(done.stdout.decode()))
    assert (row["file"], row["width"], row["digits"]) == ("-", "28", "1")
    assert (tmp_path / "run/predictions.csv").read_bytes() == done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells whether a process waits")
def test_ctrl_c_is_clean(trained, tmp_path):
    words = (f"ckpt={trained}", f"hydra.run.dir={tmp_path}/run", "images=-", "threads=1")
    process = start("src.predict", *words, stdin=subprocess.PIPE)  # waits for its input
    stat, before, deadline = Path(f"/proc/{process.pid}/stat"), None, time.time() + 120
    while not (tmp_path / "run/status.json").is_file() or before != (before := stat.read_text().split()[13:15]):
        assert time.time() < deadline
        time.sleep(1.5)  # it waits once its CPU time stands still
    process.send_signal(signal.SIGINT)
    out, err = output_of(process, 60)
    assert process.returncode == 130, err
    assert err.strip() == "interrupted"
    assert out == ""
