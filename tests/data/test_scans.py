"""Small scans: scikit-learn's digits and USPS."""

import pytest
import torch

from src.data.sources.scans import load_sklearn_digits, parse_libsvm
from src.data.transforms import frame_scans, transform_source
from src.errors import InputError


def test_digits_are_framed_and_split_once():
    assert load_sklearn_digits().train().images.shape == (1437, 1, 8, 8)
    source = transform_source(load_sklearn_digits())
    train, test = source.train(), source.test()
    assert (len(train.labels), len(test.labels)) == (1437, 360)
    assert train.images.shape[1:] == (1, 28, 28)
    assert train.images.dtype == torch.uint8
    border = train.images.clone()
    border[:, :, 4:24, 4:24] = 0
    assert int(border.max()) == 0, "the digit is in the middle 20x20"
    assert int(train.images.max()) == 255
    both = torch.cat([train.labels, test.labels]).bincount()
    assert both.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert float((test.labels.bincount() - both * 360 / 1797).abs().max()) < 1


def test_frame_scans_keeps_grey_levels_and_centres():
    flat = torch.full((1, 1, 8, 8), 100.0)
    boxed = frame_scans(flat)
    assert int(boxed[0, 0, 14, 14]) == 100
    assert int(boxed.sum()) == 100 * 20 * 20


def test_usps_lines_are_parsed_or_rejected():
    line = "7 " + " ".join(f"{i}:{-1 if i != 120 else 1}" for i in range(1, 257))
    images, labels = parse_libsvm(f"{line}\n10 1:-1\n", "usps")
    assert labels.tolist() == [6, 9]
    assert images.shape == (2, 1, 16, 16)
    assert (int(images[0, 0].max()), int(images[0, 0].min())) == (255, 0)
    assert int(images[0, 0, 7, 7]) == 255, "pixel 120, counted from 1"
    for wrong in ("", "a 1:0", "1 300:0.1", "1 1:5", "11 1:0", "1 1"):
        with pytest.raises(InputError):
            parse_libsvm(wrong, "usps")
