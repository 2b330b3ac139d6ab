"""The report on a data set: its sections and its page."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from src.data.augment import Identity, Shift
from src.data.datamodule import ImageData
from src.dataset_report.context import ReportContext, ReportFigure, Section
from src.dataset_report.report import SECTIONS, render_html, select_sections, write_dataset_report
from src.dataset_report.sample import SplitSample, sample_dataset
from src.dataset_report.wording import pluralize
from src.errors import InputError
from tests.commands import files
from tests.dataset_report.pages import FIGURES, check_page, report_of
from tests.dataset_report.samples import dataset_sample, digits, with_images


def test_nouns_follow_their_count():
    assert pluralize(0, "pair") == "0 pairs"
    assert [pluralize(count, "copy", "copies") for count in (1, 1200)] == ["1 copy", "1,200 copies"]


def test_planted_copies_across_splits_are_found(planted):
    found, true = planted
    numbers = found["neighbours"].numbers
    assert numbers["identical"]["leak"] == 4
    assert numbers["identical"]["contradicting"] == 1
    pairs = {(group["train"][0], group["test"][0]) for group in numbers["identical"]["groups"] if group["test"]}
    assert pairs == set(zip(true["exact"].tolist(), true["leak"][:4].tolist(), strict=True))
    near = {tuple(pair["rows"]) for pair in numbers["near"]["test_train"][:10]}
    assert set(zip(true["leak"][4:].tolist(), true["target"][4:].tolist(), strict=True)) <= near


def test_report_on_images_that_are_all_alike(tmp_path):
    """All white: sentences stand in for numbers that do not exist."""
    images, labels = torch.full((24, 1, 12, 12), 255, dtype=torch.uint8), torch.arange(24) % 2
    part = SplitSample(images, labels, torch.arange(24), 24)
    context = ReportContext(dataset_sample(part, part, ("a", "b")), augmentations={"shift": Shift(2)})
    names = ["examples", "measures", "maps", "neighbours", "outliers", "labels", "augment"]
    numbers, _ = write_dataset_report(context, names, tmp_path, "test", lambda name: None)
    json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)
    text = re.sub('src="data:[^"]*"', "", (tmp_path / "report.html").read_text())
    assert text.count("No two images differ in shape") == 2
    assert not re.search(r"\bnan\b", text)
    assert numbers["maps"] == {}


def test_report_on_a_few_color_pictures(picture_folder, tmp_path):
    """Two classes of 24 pictures in three channels, of another size; every section."""
    data = ImageData("folder", root=str(picture_folder), val=0.15, size=36, channels=3)
    numbers = report_of(data, tmp_path, tsne_images=100)
    assert files(tmp_path) == {"report.html", "report.json", *(f"figures/{name}.png" for name in FIGURES)}
    page = check_page(tmp_path / "report.html", list(SECTIONS))
    assert len(page.images) == len(FIGURES)
    assert numbers["counts"]["totals"] == {"train": 32, "val": 6, "test": 10}
    assert numbers["labels"]["agree"] == 1
    written = json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)
    assert written["classes"] == ["cross", "ring"]
    for name in FIGURES:
        with Image.open(tmp_path / "figures" / f"{name}.png") as picture:
            assert np.asarray(picture.convert("L")).std() > 5


def test_report_on_pictures_that_are_not_held_in_memory(picture_folder, tmp_path):
    data = ImageData("folder", root=str(picture_folder), val=0.15, memory_gb=0, num_workers=0)
    numbers = report_of(data, tmp_path, ["counts", "neighbours", "labels"], max_images=20)
    assert numbers["looked_at"] == {"train": 20, "test": 10}
    assert "a sample of 20 of 38 training images" in (tmp_path / "report.html").read_text()
    assert sum(numbers["counts"]["totals"].values()) == 48
    assert {row["row"] for row in numbers["labels"]["ranked"]} < set(range(38))


def test_report_on_a_class_with_one_picture(tmp_path):
    """And names to be escaped, and pictures without ink."""
    for part, counts in (("train", (6, 6, 1)), ("test", (2, 2, 1))):
        for name, count in zip(("<b>&", "$x$", "one"), counts, strict=True):
            (tmp_path / "data" / part / name).mkdir(parents=True)
            for index in range(count):
                grey = np.full((12, 12), 0 if name == "<b>&" else 40 * index + 30, np.uint8)
                grey[2 : 4 + index] = 200 if name != "<b>&" else 0
                Image.fromarray(grey).save(tmp_path / "data" / part / name / f"{index}.png")
    data = ImageData("folder", root=str(tmp_path / "data"), val=3, size=12)
    numbers = report_of(data, tmp_path / "run")
    text = (tmp_path / "run/report.html").read_text()
    check_page(tmp_path / "run/report.html", list(SECTIONS))
    assert "<b>&" not in text and "&lt;b&gt;&amp;" in text
    assert "Left out because alone in its class: 1 image." in text
    assert numbers["measures"]["blank"] >= 6
    assert numbers["neighbours"]["identical"]["train"] == 6  # five of those without ink, and one of another class
    assert numbers["neighbours"]["identical"]["contradicting"] == 1


def test_regression_targets_are_rejected():
    with pytest.raises(InputError, match="the report is about classes"):
        sample_dataset(ImageData("digits", val=0.15, target="angle"), 1000, 0)


def test_sections_are_selected_in_the_order_of_the_page():
    assert select_sections(None) == list(SECTIONS)
    assert select_sections(["labels", "counts"]) == ["counts", "labels"]
    assert select_sections("maps") == ["maps"]
    with pytest.raises(InputError, match=r"sections=\['x'\]: some of counts, examples"):
        select_sections(["maps", "x"])
    with pytest.raises(InputError, match="null for all"):
        select_sections([])


def test_the_same_seed_gives_the_same_report():
    train, test, names = digits()
    contexts = [
        ReportContext(dataset_sample(train, test, names), augmentations={"shift": Shift(), "none": Identity()})
        for _ in range(2)
    ]
    for name in ("examples", "labels", "augment"):
        assert SECTIONS[name](contexts[0]).numbers == SECTIONS[name](contexts[1]).numbers


def test_only_duplicates_depend_on_the_test_images():
    train, test, names = digits()
    other = with_images(test, 255 - test.images)
    for name in ("examples", "averages", "pixels", "measures", "outliers", "labels"):
        found = [SECTIONS[name](ReportContext(dataset_sample(train, part, names))).numbers for part in (test, other)]
        assert found[0] == found[1], name


def test_page_of_a_section_without_figures():
    text = render_html("a <title>", "about", {"one": Section("One & only", ["1 < 2"])}, {}, ["note"])
    assert "a &lt;title&gt;" in text and "1 &lt; 2" in text
    assert ReportFigure("x", None, "", "").name == "x"
