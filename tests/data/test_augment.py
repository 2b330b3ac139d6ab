"""Augmentations: one draw per image, within their bounds, never mirrored."""

import pytest
import torch

from src.data.augment import Affine, Cutout, Elastic, Identity, Shift, Stroke
from src.errors import InputError

AUGMENTS = {"shift": Shift(), "affine": Affine(), "elastic": Elastic(), "cutout": Cutout(), "stroke": Stroke()}
STILL = {"rotate_deg": 0, "scale": 0, "shear_deg": 0, "shift_px": 0}


@pytest.fixture
def blobs() -> torch.Tensor:
    """Images that keep what is drawn well inside the frame."""
    images = torch.zeros(16, 1, 28, 28, dtype=torch.uint8)
    images[:, :, 10:18, 8:14] = 200
    return images


@pytest.mark.parametrize("name", AUGMENTS)
def test_augmentation_is_drawn_per_image_and_repeats(name):
    images = torch.randint(1, 256, (1, 1, 28, 28)).to(torch.uint8).expand(16, -1, -1, -1).contiguous()

    def change(seed):
        return AUGMENTS[name](images, torch.Generator().manual_seed(seed))

    changed = change(0)
    assert changed.shape == images.shape
    assert torch.equal(changed, change(0))
    assert not torch.equal(changed, change(1))
    assert len({bytes(image.to(torch.uint8).numpy()) for image in changed}) > 10, "each image has its own draw"
    assert float(changed.float().min()) >= 0
    assert float(changed.float().max()) <= 255


@pytest.mark.parametrize(
    "nothing",
    [
        Identity(),
        Shift(0),
        Affine(0, 0, 0, 0),
        Elastic(0, rotate_deg=0, scale=0, shear_deg=0, shift_px=0),
        Cutout(0),
        Stroke(0, 0, 0, rotate_deg=0, scale=0, shear_deg=0, shift_px=0),
    ],
)
def test_augmentation_of_strength_zero_is_the_identity(nothing, blobs):
    assert torch.allclose(nothing(blobs, torch.Generator()).float(), blobs.float(), atol=0.05)


def test_shift_moves_whole_pixels_and_loses_no_ink(blobs):
    moved = Shift(3)(blobs, torch.Generator().manual_seed(0))
    assert moved.dtype == torch.uint8
    assert torch.equal(moved.flatten(1).sum(1), blobs.flatten(1).sum(1))
    corners = {tuple((image[0] > 0).nonzero()[0].tolist()) for image in moved}
    assert all(7 <= row <= 13 and 5 <= column <= 11 for row, column in corners)
    assert len(corners) > 5


@pytest.mark.parametrize("name", ["affine", "elastic", "shift", "stroke"])
def test_augmentation_never_mirrors(name):
    images = torch.zeros(200, 3, 28, 28, dtype=torch.uint8)
    for channel, (row, column) in enumerate([(6, 8), (20, 8), (20, 19)]):  # the corners of an L
        images[:, channel, row - 1 : row + 2, column - 1 : column + 2] = 255
    changed = AUGMENTS[name](images, torch.Generator().manual_seed(0)).float()
    axis = torch.arange(28.0)
    mass = changed.sum((2, 3))
    rows, columns = (changed.sum(3) @ axis) / mass, (changed.sum(2) @ axis) / mass
    turn = (rows[:, 1] - rows[:, 0]) * (columns[:, 2] - columns[:, 1])
    turn -= (columns[:, 1] - columns[:, 0]) * (rows[:, 2] - rows[:, 1])
    assert bool((turn > 0).all()), "going round the corners turns the same way as in the original"


def test_strokes_become_thicker_and_thinner_by_up_to_the_knobs(blobs):
    many, alone = blobs.repeat(8, 1, 1, 1), {"blur_px": 0, **STILL}
    changed = Stroke(0.8, 0.5, **alone)(many, torch.Generator().manual_seed(0))
    widths = changed[:, 0, 13].sum(1) / 200  # six pixels before
    assert 5.0 - 1e-3 <= float(widths.min()) < 5.2
    assert 7.4 < float(widths.max()) <= 7.6 + 1e-3
    assert len(widths.unique()) > 100, "a continuous draw"
    thicker, thinner = (Stroke(*px, **alone)(many, torch.Generator().manual_seed(0)) for px in ((1, 0), (0, 0.9)))
    assert bool((thicker >= many - 0.01).all())
    assert bool((thinner <= many + 0.01).all())


def test_blur_keeps_the_ink_and_spreads_it(blobs):
    changed = Stroke(0, 0, 1, **STILL)(blobs, torch.Generator().manual_seed(0))
    ink = blobs.float().sum((1, 2, 3))
    assert torch.allclose(changed.sum((1, 2, 3)), ink, rtol=1e-4)
    columns = torch.arange(28.0)

    def spread(images):
        profile = images.float().sum((1, 2)) / ink.unsqueeze(1)
        return profile @ columns.square() - (profile @ columns).square()

    wider = spread(changed) - spread(blobs)
    assert bool(((wider > -1e-2) & (wider < 1 + 1e-2)).all()), "a variance of up to blur_px squared"
    assert float(wider.max()) > 0.5


def test_stroke_never_erases_a_digit():
    images = torch.zeros(400, 1, 28, 28, dtype=torch.uint8)
    images[:200, 0, 4:24, 14] = images[200:, 0, 14, 14] = 255  # a line one pixel wide, a single dot
    thinned = Stroke(0, 0.9, 0, **STILL)(images, torch.Generator().manual_seed(0))
    assert float(thinned.amax((1, 2, 3)).min()) >= 25.5 - 0.01
    assert float(Stroke()(images, torch.Generator().manual_seed(0)).amax((1, 2, 3)).min()) > 12


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Shift(-1),
        lambda: Affine(rotate_deg=90),
        lambda: Affine(scale=1),
        lambda: Cutout(-2),
        lambda: Elastic(sigma_px=0),
        lambda: Stroke(thicken_px=1.5),
        lambda: Stroke(thin_px=1),
        lambda: Stroke(blur_px=-0.1),
        lambda: Stroke(thin_px=True),
        lambda: Elastic(alpha_px="foo"),
        lambda: Affine(shift_px=float("nan")),
    ],
)
def test_augmentation_rejects_values_out_of_range(wrong):
    with pytest.raises(InputError, match=r"augment\."):
        wrong()


@pytest.fixture
def photos() -> torch.Tensor:
    """Colour images without a black pixel."""
    return torch.randint(60, 200, (32, 3, 24, 30), dtype=torch.uint8)


MOVES = {"shift": (Shift, {"max_px": 6}), "affine": (Affine, {"rotate_deg": 40}), "elastic": (Elastic, {"alpha_px": 2})}
MOVES["stroke"] = (Stroke, {"rotate_deg": 40, "thicken_px": 0, "thin_px": 0})


@pytest.mark.parametrize("name", MOVES)
def test_uncovered_pixels_of_photographs_are_mirrored_or_the_mean(name, photos):
    kind, options = MOVES[name]
    changed = {
        fill: kind(**options, fill=fill)(photos, torch.Generator().manual_seed(0)).float()
        for fill in ("background", "reflect", "mean")
    }
    assert torch.equal(changed["background"], kind(**options)(photos, torch.Generator().manual_seed(0)).float())
    assert float(changed["background"].min()) == 0
    for fill in ("reflect", "mean"):
        low, high = photos.amin((2, 3), True).float(), photos.amax((2, 3), True).float()
        assert bool(((changed[fill] >= low - 0.01) & (changed[fill] <= high + 0.01)).all()), "levels of its own channel"
    inner = (slice(None), slice(None), slice(11, 13), slice(14, 16))
    assert all(torch.allclose(changed[fill][inner], changed["background"][inner], atol=0.01) for fill in changed)
    assert len({tuple(value.flatten().tolist()) for value in changed.values()}) == 3


def test_a_shift_larger_than_the_image_is_mirrored_again():
    images = torch.arange(1, 4, dtype=torch.uint8).view(1, 1, 1, 3).expand(64, 1, 2, 3)
    moved = Shift(20, fill="reflect")(images, torch.Generator().manual_seed(0))
    rows = {tuple(image[0, 0].tolist()) for image in moved}
    assert moved.dtype == torch.uint8
    assert rows == {(1, 2, 3), (2, 3, 3), (3, 3, 2), (3, 2, 1), (2, 1, 1), (1, 1, 2)}


def test_a_square_gets_the_mean_and_no_mirror_image(photos):
    changed = Cutout(8, fill="mean")(photos, torch.Generator().manual_seed(0))
    hole = Cutout(8)(photos, torch.Generator().manual_seed(0)) == 0
    mean = photos.float().mean((2, 3), keepdim=True).round().to(torch.uint8)
    assert torch.equal(changed, torch.where(hole, mean, photos))
    with pytest.raises(InputError, match=r"augment\.fill=reflect.*background, mean"):
        Cutout(fill="reflect")
    with pytest.raises(InputError, match=r"augment\.fill=black.*background, reflect, mean"):
        Elastic(fill="black")
