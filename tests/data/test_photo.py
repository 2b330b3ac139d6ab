"""augment=photo: within its knobs, one draw per image, for grey and colour."""

import pytest
import torch

from src.data.photo import Photo
from src.errors import InputError

STILL = {
    "min_area": 1, "ratio": 1, "rotate_deg": 0, "flip": 0, "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0,
    "erase": 0,
}  # fmt: skip


def change(images, seed=0, **knobs):
    return Photo(**{**STILL, **knobs})(images, torch.Generator().manual_seed(seed))


@pytest.fixture
def photos():
    return torch.randint(30, 220, (64, 3, 40, 48), dtype=torch.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_drawn_per_image_and_repeats(channels):
    images = torch.randint(0, 256, (1, channels, 40, 48), dtype=torch.uint8).expand(16, -1, -1, -1)
    changed = [Photo()(images, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert changed[0].shape == images.shape
    assert torch.equal(changed[0], changed[1]) and not torch.equal(changed[0], changed[2])
    assert len({bytes(image.numpy()) for image in changed[0]}) == 16
    assert float(changed[0].min()) >= 0 and float(changed[0].max()) <= 255


def test_strength_zero_is_the_identity(photos):
    assert torch.allclose(change(photos), photos.float(), atol=0.05)


def test_a_flip_mirrors_and_only_half_of_the_images(photos):
    assert torch.allclose(change(photos, flip=1), photos.flip(3).float(), atol=0.05)
    same = (change(photos, flip=0.5) - photos).abs().amax((1, 2, 3)) < 0.1
    assert 16 < int(same.sum()) < 48


@pytest.mark.parametrize("knobs", [{"rotate_deg": 180}, {"min_area": 0.3, "ratio": 2}])
def test_nothing_uncovered_is_black(photos, knobs):
    assert float(change(photos, **knobs).min()) >= 30 - 0.01


def test_brightness_contrast_and_saturation_stay_within_their_knobs(photos):
    mean = photos.float().mean((1, 2, 3))
    brighter = change(photos, brightness=0.1).mean((1, 2, 3)) / mean
    assert bool(((brighter > 0.899) & (brighter < 1.101)).all()) and float(brighter.std()) > 0.03
    contrast = change(photos, contrast=0.1)
    assert torch.allclose(contrast.mean((1, 2, 3)), mean, rtol=1e-3)
    spread = contrast.std((1, 2, 3)) / photos.float().std((1, 2, 3))
    assert bool(((spread > 0.899) & (spread < 1.101)).all()) and float(spread.std()) > 0.03


def test_hue_and_saturation_keep_grey_grey(photos):
    grey = photos[:, :1].expand(-1, 3, -1, -1)
    assert torch.allclose(change(grey, hue=0.5, saturation=0.5), grey.float(), atol=0.1)
    assert not torch.allclose(change(photos, hue=0.1), photos.float(), atol=5)


def test_a_third_of_the_circle_makes_red_green_or_blue():
    red = torch.zeros(200, 3, 8, 8, dtype=torch.uint8)
    red[:, 0] = 200
    peaks = change(red, hue=0.5).mean((2, 3)).argmax(1)
    assert sorted(peaks.unique().tolist()) == [0, 1, 2]


def test_erasing_fills_a_rectangle_with_the_mean(photos):
    changed = change(photos, erase=1)
    share = ((changed - photos).abs().amax(1) > 0.1).float().mean((1, 2))
    assert bool(((share > 0.005) & (share < 0.25)).all())
    assert float(changed.std()) > 0


@pytest.mark.parametrize("knobs", [{"min_area": 0}, {"ratio": 0.5}, {"rotate_deg": 181}, {"hue": 0.6}, {"flip": 2}])
def test_knobs_out_of_range_are_refused(knobs):
    with pytest.raises(InputError, match=rf"augment\.{next(iter(knobs))}="):
        Photo(**knobs)
