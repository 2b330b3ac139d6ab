"""Ink measures of drawn bars."""

import numpy as np
import pytest
import torch

from src.dataset_report.ink_measures import measure_ink
from src.dataset_report.statistics import summary_statistics


def bar(width: int, height: int = 20, shear: float = 0.0, side: int = 40) -> torch.Tensor:
    """A white bar as uint8 (1, 1, side, side), whose top is shear * height columns to the right of its bottom."""
    image = torch.zeros(side, side, dtype=torch.uint8)
    top = (side - height) // 2
    for row in range(height):
        left = (side - width) // 2 + round(shear * (height / 2 - row - 0.5))
        image[top + row, left : left + width] = 255
    return image[None, None]


@pytest.mark.parametrize("width", [1, 2, 3, 5, 8])
def test_stroke_width_of_a_bar_is_its_width(width):
    found = measure_ink(torch.cat([bar(width), bar(width).mT.contiguous()]))
    assert found["stroke"].tolist() == pytest.approx([width] * 2, rel=0.06)
    assert found["mass"].tolist() == pytest.approx([20 * width] * 2)
    assert [found["width"][0], found["height"][0]] == [width, 20]


@pytest.mark.parametrize("width", [2.0, 3.5])
def test_stroke_width_of_a_rotated_bar_with_soft_edges(width):
    """Rotated by 30 degrees, with anti-aliased edges: grey levels count."""
    y, x = torch.meshgrid(torch.arange(40.0) - 19.5, torch.arange(40.0) - 19.5, indexing="ij")
    along, across = x * 0.5 + y * 0.75**0.5, x * 0.75**0.5 - y * 0.5
    inside = (width / 2 + 0.5 - across.abs()).clamp(0, 1) * (12.5 - along.abs()).clamp(0, 1)
    found = measure_ink((inside * 255).round().to(torch.uint8)[None, None])
    assert float(found["stroke"]) == pytest.approx(width, rel=0.1)
    assert float(found["slant"]) == pytest.approx(-30, abs=2)  # x grows with y: its top leans to the left


@pytest.mark.parametrize("degrees", [-30, -10, 0, 15, 40])
def test_slant_of_a_sheared_bar(degrees):
    image = bar(3, 30, float(np.tan(np.radians(degrees))), 60)
    assert float(measure_ink(image)["slant"]) == pytest.approx(degrees, abs=1)


def test_centre_of_mass_moves_with_the_image_on_any_background():
    image = bar(4)
    moved = image.roll((3, -5), (2, 3))
    found = measure_ink(torch.cat([image, moved, 255 - moved]))
    assert found["right"].tolist() == pytest.approx([0, -5, -5])
    assert found["down"].tolist() == pytest.approx([0, 3, 3])
    assert found["stroke"][1] == found["stroke"][2]


def test_an_image_without_ink_has_no_measures():
    found = measure_ink(torch.full((1, 3, 9, 9), 77, dtype=torch.uint8))
    assert float(found["mass"]) == 0
    assert all(found[name].isnan().all() for name in found if name != "mass")
    assert summary_statistics(found["slant"])["median"] is None
