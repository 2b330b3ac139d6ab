"""Pictures, names and sizes that used to stop a command, as a user types it: nothing ends in a traceback."""

import csv
import json
import os
import signal
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image

from tests.commands import one_line, output_of, run, start, wait_for
from tests.photo_files import draw_photo, write_photos

pytestmark = pytest.mark.slow
SHORT = ("model=lenet", "trainer.accelerator=cpu", "trainer.max_epochs=1", "logger=none")


def train(root, folder, *words, env=None):
    return run("src.train", "data=folder", f"data.root='{root}'", *SHORT, f"hydra.run.dir='{folder}'", *words, env=env)


def succeeds(done):
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return done.stdout


def test_pictures_of_one_line_are_read_by_every_command(tmp_path):
    root = write_photos(tmp_path / "lines", 12)
    flat, tall = root / "cats" / "flat.png", root / "dogs" / "tall.png"
    draw_photo(0, np.random.default_rng(0)).resize((400, 3)).save(flat)
    draw_photo(0, np.random.default_rng(0)).resize((2, 500)).save(tall)
    succeeds(train(root, tmp_path / "run", "figures=false"))
    succeeds(run("src.report", "data=folder", f"data.root={root}", f"hydra.run.dir={tmp_path / 'report'}"))
    ckpt = f"ckpt={tmp_path / 'run'}"
    out = succeeds(run("src.predict", ckpt, f"images=[{flat},{tall}]", "format=json", f"hydra.run.dir={tmp_path}/p"))
    expected = {record["file"]: record["prediction"] for record in json.loads(out)}
    assert set(expected) == {str(flat), str(tall)}
    process = start("src.serve", ckpt, "port=0", f"hydra.run.dir={tmp_path / 'serve'}")
    try:
        wait_for(tmp_path / "serve" / "results.json")
        address = json.loads((tmp_path / "serve" / "results.json").read_text())["address"]
        for path in (flat, tall):
            request = Request(f"{address}/predict", path.read_bytes(), {"content-type": "image/png"})
            with urlopen(request, timeout=60) as response:
                assert json.load(response)["prediction"] == expected[str(path)]
    finally:
        process.send_signal(signal.SIGTERM)
        output_of(process, 60)


@pytest.mark.parametrize(("model", "extra"), [("convnet", ()), ("resnet", ("model.widths=[8,16]",))])
def test_a_last_batch_of_one_image_meets_batch_norm(model, extra, tmp_path):
    root = write_photos(tmp_path / "pics", 13)
    words = (f"model={model}", *extra, "data.fold=null", "figures=false", "data.min_steps=0", "test=false")
    sizes = {size: train(root, tmp_path / f"b{size}", *words, f"data.batch_size={size}") for size in (2, 5, 13, 26)}
    for size, done in sizes.items():
        assert done.returncode == 0, (size, done.stderr)


@pytest.mark.parametrize(("name", "least"), [("alexnet", "63"), ("inception_v3", "75")])
def test_a_size_that_a_network_cannot_take_is_one_line_before_training(name, least, tmp_path):
    root = write_photos(tmp_path / "pics", 8)
    words = ("model=pretrained", f"model.name={name}", "model.weights=null", "model.size=32")
    line = one_line(train(root, tmp_path / "run", *words))
    assert name in line and least in line, line
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_names_with_signs_of_formulas_and_quotes_reach_every_figure(tmp_path):
    folder = tmp_path / "o'brien $1"
    write_photos(folder / "pics", 12, names=("$a_b$ & 5%", "it's \\alpha", "x^2 {y}"))
    quoted = str(folder).replace("'", "\\'")
    succeeds(train(f"{quoted}/pics", f"{quoted}/run", "figures=true"))
    assert list((folder / "run" / "figures").glob("*.png"))
    succeeds(run("src.train", f"resume_from='{quoted}/run'", "trainer.max_epochs=2"))
    succeeds(train(f"{quoted}/pics", f"{quoted}/tuned", f"init_from='{quoted}/run'", "data.shots=2"))
    succeeds(run("src.explain", f"ckpt='{quoted}/tuned'", "n=2", f"hydra.run.dir={tmp_path / 'e'}"))


def test_120_classes_with_long_names_stay_readable(tmp_path):
    names = [f"{index:03} {'a very long name of a class ' * 3}" for index in range(120)]
    root = write_photos(tmp_path / "many", 5, names=names)
    out = succeeds(train(root, tmp_path / "run", "figures=true"))
    assert len(out.splitlines()) < 80
    out = succeeds(run("src.evaluate", f"ckpt={tmp_path / 'run'}", f"hydra.run.dir={tmp_path / 'e'}"))
    assert len(out.splitlines()) < 80
    assert len(json.loads((tmp_path / "e" / "results.json").read_text())["per_class"]) == 120, "the file has them all"
    for folder in ("run", "e"):
        for path in (tmp_path / folder / "figures").glob("*.png"):
            with Image.open(path) as picture:
                assert max(picture.size) <= 2500, (path.name, picture.size)


def test_large_photographs_are_decoded_once(tmp_path):
    root = tmp_path / "large"
    rng = np.random.default_rng(2)
    for shape, name in enumerate(("ships", "trains")):
        (root / name).mkdir(parents=True)
        for index in range(6):
            photo = draw_photo(shape, rng).resize((3000, 2000))
            photo.save(root / name / f"{index}.jpg", quality=90)
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    first = succeeds(train(root, tmp_path / "a", "figures=false", env=env))
    store = tmp_path / "cache" / "mnist-lightning-hydra" / "pictures.sqlite"
    written, results = store.stat().st_mtime_ns, json.loads((tmp_path / "a" / "results.json").read_text())
    succeeds(train(root, tmp_path / "b", "figures=false", env=env))
    again = json.loads((tmp_path / "b" / "results.json").read_text())
    assert again["test"] == results["test"] and "12 pictures of 2 classes" in first
    assert store.stat().st_mtime_ns == written, "nothing was decoded again"
    os.utime(store, ns=(written, written))
    # Another picture under the same name and of the same size in bytes is another picture.
    content = bytearray((root / "ships" / "0.jpg").read_bytes())
    content[len(content) // 2] ^= 1
    (root / "ships" / "0.jpg").write_bytes(content)
    succeeds(train(root, tmp_path / "c", "figures=false", env=env))
    assert store.stat().st_mtime_ns > written
    succeeds(train(root, tmp_path / "d", "figures=false", "data.cache_gb=0", env=env))


def test_every_unreadable_picture_is_named_at_once_with_workers(tmp_path):
    root = write_photos(tmp_path / "pics", 12)
    broken = [root / "cats" / "000.png", root / "dogs" / "003.png", root / "Äpfel und Öl" / "011.png"]
    for path, content in zip(broken, (b"", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(40)), strict=True):
        path.write_bytes(content)
    line = one_line(train(root, tmp_path / "stop", "data.memory_gb=0", "data.num_workers=2"))
    assert "3 of 36 pictures cannot be read" in line
    assert all(f"{path.parent.name}/{path.name}" in line for path in broken)
    words = ("data.memory_gb=0", "data.num_workers=2", "data.on_error=skip", "figures=false")
    succeeds(train(root, tmp_path / "skip", *words))
    with (tmp_path / "skip" / "skipped.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 3
