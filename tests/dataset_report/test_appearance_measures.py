"""Measures of photographs, and which measures a data set gets."""

import pytest
import torch

from src.dataset_report.appearance_measures import MEASURES, measure_appearance
from src.dataset_report.context import ReportContext
from src.dataset_report.measures import APPEARANCE, INK, choose_measures
from src.dataset_report.report import SECTIONS
from src.dataset_report.sample import SplitSample
from tests.dataset_report.samples import dataset_sample, digits


def photos(count=24, side=32, seed=0):
    """Smooth coloured noise of any brightness, uint8 (N, 3, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 6, 6, generator=generator) * 255
    return torch.nn.functional.interpolate(coarse, side, mode="bilinear").to(torch.uint8)


def test_known_values():
    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    images[1] = 100  # one grey
    images[2, 0] = 200  # one red
    images[3, :, :, ::2] = 255  # stripes of one pixel
    found = measure_appearance(images)
    assert found["brightness"].tolist() == pytest.approx([0, 100, 0.299 * 200, 127.5])
    assert found["contrast"].tolist() == pytest.approx([0, 0, 0, 127.5], abs=1e-3)
    # rg = 200 and yb = 100 everywhere: 0.3 times the length of their means.
    assert found["colour"].tolist() == pytest.approx([0, 0, 0.3 * (200**2 + 100**2) ** 0.5, 0], abs=1e-3)
    assert found["sharpness"][:3].isnan().all()
    # The Laplacian of stripes is -510 and 510, but 255 where the last column is repeated beyond the edge.
    expected = torch.tensor([-255.0, *[510.0, -510.0] * 3, 255.0]).std(correction=0)
    assert float(found["sharpness"][3]) == pytest.approx(float(expected))


def test_blur_lowers_the_sharpness_and_grey_has_no_colour():
    images = photos()
    blurred = torch.nn.functional.avg_pool2d(images.float(), 5, 1, 2, count_include_pad=False)
    sharp, soft = measure_appearance(images), measure_appearance(blurred)
    assert (soft["sharpness"] < sharp["sharpness"]).all()
    assert (soft["brightness"] - sharp["brightness"]).abs().max() < 6
    grey = measure_appearance(images[:, :1])
    assert (grey["colour"] == 0).all() and (sharp["colour"] > 10).all()


def test_strokes_on_an_even_background_are_measured_as_ink():
    train, *_ = digits()
    assert choose_measures(train.images) is INK
    assert choose_measures(255 - train.images) is INK
    assert choose_measures(torch.zeros(3, 1, 8, 8, dtype=torch.uint8)) is INK
    icons = torch.full((6, 3, 20, 20), 250, dtype=torch.uint8)
    icons[:, 0, 5:15, 5:15] = 20
    assert choose_measures(icons) is INK
    assert choose_measures(photos()) is APPEARANCE
    assert choose_measures(photos()[:, :1]) is APPEARANCE, "whatever the number of channels"
    assert (
        choose_measures(torch.cat([photos(3, 20), icons])) is INK
        and choose_measures(torch.cat([photos(9, 20), icons])) is APPEARANCE
    )


def test_the_sections_on_photographs_speak_of_light_and_colour():
    images, labels = photos(40), torch.arange(40) % 2
    images[labels == 1] //= 2  # the second class was taken in the dark
    images[0] = 7
    sample = SplitSample(images, labels, torch.arange(40), 40)
    test = SplitSample(images[:0], labels[:0], torch.arange(0), 0)
    context = ReportContext(dataset_sample(sample, test, ("day", "night")))
    section = SECTIONS["measures"](context)
    assert section.title == "Light and colour" and "With one colour: 1 image." in section.paragraphs[0]
    assert list(section.numbers) == [*MEASURES, "blank"]
    day, night = (section.numbers["brightness"][name]["median"] for name in ("day", "night"))
    assert night < 0.7 * day
    assert section.tables[0].header == ["class", "brightness", "contrast", "colourfulness", "sharpness"]
    outliers = SECTIONS["outliers"](context).numbers["rows"]
    assert next(row["why"] for row in outliers if row["row"] == 0) == "brightness 7.0, usual 125.5"
    text = " ".join([*SECTIONS["pixels"](context).paragraphs, SECTIONS["pixels"](context).figures[0].caption])
    assert "values of red, green and blue" in text and "ink" not in text
