"""The command, as a user types it."""

import json
import re

import pytest
import torch

from src.cli.config import ROOT
from src.data.sources.registry import load_dataset
from tests.commands import files, run
from tests.dataset_report.pages import FIGURES
from tests.small_data import idx_bytes


@pytest.mark.slow
def test_report_on_the_bundled_digits_as_a_user_types_it(tmp_path):
    done = run("src.report", "data=digits", f"hydra.run.dir={tmp_path}/run", "augment=affine", "augment.rotate_deg=40")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    expected = {".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml", "report.log", "status.json"}
    figures = {f"figures/{name}.png" for name in FIGURES}
    assert files(tmp_path / "run") == expected | figures | {"report.html", "report.json"}
    numbers = json.loads((tmp_path / "run/report.json").read_text())
    assert numbers["counts"]["totals"] == {"train": 1221, "val": 216, "test": 360}
    options = {path.stem for path in (ROOT / "conf/augment").glob("*.yaml")}
    assert set(numbers["augment"]) == options - {"none"} | {"normalised"}
    assert numbers["augment"]["affine"]["slant"] > 2 * numbers["augment"]["elastic"]["slant"]
    assert re.search(r"open .*report.html", done.stdout)
    page = (tmp_path / "run/report.html").read_text()
    assert "python -m src.report data=digits augment=affine augment.rotate_deg=40 — " in page
    assert "counts from 0 in the training file" in " ".join(numbers["notes"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sections=[x]"], "sections=['x']: some of counts, examples, averages"),
        (["max_images=3"], "max_images=3: a whole number, 50 to 200,000"),
        (["predictions=/nowhere", "sections=labels"], "predictions=/nowhere holds no predictions.npz"),
    ],
)
def test_wrong_options_are_reported_in_one_line(words, message, tmp_path):
    done = run("src.report", "data=digits", f"hydra.run.dir={tmp_path}/run", *words)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert message in done.stderr


@pytest.mark.slow
def test_planted_errors_and_copies_in_the_real_mnist_are_found(mnist_root, tmp_path):
    """All 60,000 training images, 100 with a flipped label and 15 replaced by test images, drawn with seed 5."""
    source = load_dataset("mnist", root=str(mnist_root), download=False)
    (images, labels), (others, truth) = source.train(), source.test()
    images, wrong, generator = images.clone(), labels.clone(), torch.Generator().manual_seed(5)
    rows = torch.randperm(len(labels), generator=generator)
    flipped, target = rows[:100], rows[100:115]
    wrong[flipped] = (labels[flipped] + torch.randint(1, 10, (100,), generator=generator)) % 10
    leak = torch.randperm(len(truth), generator=generator)[:15]
    copies = others[leak].float()
    copies[5:10] = copies[5:10] * 0.8 + 30
    copies[10:] += torch.randn(copies[10:].shape, generator=generator) * 4
    images[target], wrong[target] = copies.round().clamp(0, 255).to(torch.uint8), truth[leak]
    raw = tmp_path / "KMNIST" / "raw"  # a data set of the same format, whose files are not checked by digest
    raw.mkdir(parents=True)
    for part, pictures, classes in (("train", images, wrong), ("t10k", others, truth)):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(pictures[:, 0].numpy()))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(classes.to(torch.uint8).numpy()))

    words = ["data=kmnist", f"data.root={tmp_path}", "data.download=false", f"hydra.run.dir={tmp_path}/run"]
    done = run("src.report", *words, "sections=[neighbours,labels]")
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "run/report.json").read_text())
    ranked = [row["row"] for row in numbers["labels"]["ranked"]]
    assert len(ranked) == 200
    assert len(set(ranked) & set(flipped.tolist())) >= 90
    assert numbers["labels"]["agree"] > 0.975
    found = numbers["neighbours"]
    pairs = {(group["train"][0], group["test"][0]) for group in found["identical"]["groups"] if group["test"]}
    assert pairs == set(zip(target[:5].tolist(), leak[:5].tolist(), strict=True))
    near = {tuple(pair["rows"]) for pair in found["near"]["test_train"]}
    assert set(zip(leak[5:].tolist(), target[5:].tolist(), strict=True)) <= near
    assert len(near) < 20
