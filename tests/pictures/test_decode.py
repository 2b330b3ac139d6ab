"""Pictures are decoded within limits, upright and in 8 bits."""

import warnings

import numpy as np
import pytest
from PIL import Image

from src.pictures.decode import DecodeLimits, PictureError, decode
from src.pictures.file_types import sniff_format
from tests.picture_files import encode, read


def test_grey_levels_of_every_depth_are_scaled_to_8_bits():
    ramp = np.linspace(0, 1, 256).reshape(16, 16)
    expected = (ramp * 255).round().astype(np.uint8)
    for pixels, kind in (
        ((ramp * 65535).astype(np.uint16), "PNG"),
        ((ramp * 4095).astype(np.int32), "TIFF"),
        ((ramp * 65535).astype(np.int32), "TIFF"),
        (ramp.astype(np.float32), "TIFF"),
        ((ramp * 2000 - 1000).astype(np.float32), "TIFF"),
        ((ramp * 255).astype(np.float32), "TIFF"),
    ):
        decoded = decode(encode(pixels, kind)).pixels
        assert np.abs(decoded.astype(int) - expected).max() <= 1, (pixels.dtype, pixels.max())
    not_finite = np.full((4, 4), np.nan, np.float32)
    not_finite[1] = np.inf
    assert decode(encode(not_finite, "TIFF")).pixels.max() == 0


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_the_brightness_of_16_bits_does_not_depend_on_the_picture(kind):
    """Pixels of 900 of 65,535 are nearly black, beside white as alone."""
    alone, beside = np.full((8, 8), 900, np.uint16), np.full((8, 8), 900, np.uint16)
    beside[4:] = 65_535
    decoded = [decode(encode(pixels, kind)) for pixels in (alone, beside)]
    assert [int(picture.pixels[0, 0]) for picture in decoded] == [4, 4]
    assert decoded[1].pixels[7, 7] == 255 and [picture.notes for picture in decoded] == [(), ()]


def test_a_stated_depth_is_followed_and_a_guessed_one_is_noted():
    levels = np.array([[0, 900], [1000, 4095]], np.uint16)
    stated = decode(encode(levels, "TIFF", tiffinfo={281: 4095}))
    assert stated.pixels.tolist() == [[0, 56], [62, 255]] and stated.notes == ()
    statistic = decode(encode(levels, "TIFF", tiffinfo={281: 4000}))
    assert statistic.pixels.max() == 16 and statistic.notes == ()
    lying = decode(encode(levels * 16, "TIFF", tiffinfo={281: 4095}))
    assert lying.pixels.max() == 255 and "65,520 are read as 16 bits" in lying.notes[0]
    assert decode(b"P5 2 1 4095\n" + np.array([900, 4095], ">u2").tobytes()).pixels.tolist() == [[56, 255]]
    guessed = decode(encode(levels.astype(np.int32), "TIFF"))
    assert guessed.pixels.tolist() == [[0, 56], [62, 255]] and "up to 4,095 are read as 12 bits" in guessed.notes[0]
    assert "0 to 1" in decode(encode(levels.astype(np.float32) / 4095, "TIFF")).notes[0]
    assert "-5 is read as black" in decode(encode(levels.astype(np.float32) - 5, "TIFF")).notes[0]


def test_limits_are_checked_before_pixels_are_decoded():
    small = DecodeLimits(1000, 100 * 100, ("PNG",))
    assert decode(encode(np.zeros((100, 100), np.uint8)), small).size == (100, 100)
    with pytest.raises(PictureError, match=r"the picture has 101x100 pixels: at most 10,000") as caught:
        decode(encode(np.zeros((100, 101), np.uint8)), small)
    assert caught.value.reason == "too_large"
    noise = np.random.default_rng(0).integers(0, 255, (90, 90), dtype=np.uint8)
    with pytest.raises(PictureError, match="larger than 1,000 bytes") as caught:
        decode(encode(noise), small)
    assert caught.value.reason == "too_large"
    with pytest.raises(PictureError, match="it is BMP") as caught:
        decode(encode(noise[:4, :4], "BMP"), DecodeLimits(1 << 20, 100, ("PNG",)))
    assert caught.value.reason == "unknown_format"


def test_errors_name_the_file_and_a_missing_one_has_its_own_reason(tmp_path):
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(PictureError, match=path.name) as caught:
            decode(path)
        assert caught.value.reason == "missing"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
def test_a_damaged_file_raises_only_picture_errors(kind, scans):
    whole = encode(np.asarray(Image.fromarray(scans[3]).resize((60, 60))), kind)
    assert sniff_format(whole) == kind
    rng = np.random.default_rng(0)
    reasons = []
    for _ in range(150):
        damaged = bytearray(whole[: rng.integers(1, len(whole) + 1)] if rng.random() < 0.3 else whole)
        for index in rng.integers(0, len(damaged), rng.integers(1, 6)):
            damaged[index] = rng.integers(0, 256)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of TIFF, about tags it skips
                read(bytes(damaged))
        except PictureError as error:
            assert "\n" not in str(error)
            reasons.append(error.reason)
    assert set(reasons) <= {"damaged", "unknown_format", "too_large"}
    assert "damaged" in reasons or kind in ("BMP", "PPM")
