"""Ink is separated from its background."""

import numpy as np

from src.pictures.foreground import estimate_background, extract_ink


def test_ink_on_uneven_noisy_paper_is_found_and_blank_paper_is_empty():
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:200, :260]
    for noise in (1, 4, 10):
        sheet = 180 - rows / 6 - 25 * np.sin(columns / 60) + rng.normal(0, noise, rows.shape)
        assert extract_ink(sheet.clip(0, 255).astype(np.uint8)).ink is None, noise
        sheet[80:140, 100:112] -= 90
        extracted = extract_ink(sheet.clip(0, 255).astype(np.uint8))
        assert np.abs(np.subtract(extracted.corner, (100, 80))).max() <= 2
        assert np.abs(np.subtract(extracted.ink.shape, (60, 12))).max() <= 3
        assert extracted.inverted


def test_the_estimated_background_ignores_narrow_strokes():
    sheet = np.full((120, 200), 60, np.uint8)
    assert np.allclose(estimate_background(sheet), 60)
    written = sheet.copy()
    written[20:90, 50:60] = 200
    assert np.abs(estimate_background(written) - 60).max() < 1
    shaded = np.where(np.arange(200) < 100, 60, 110).astype(np.uint8) * np.ones((120, 1), np.uint8)
    assert np.abs(estimate_background(shaded)[:, [20, 180]] - [60, 110]).max() < 1
