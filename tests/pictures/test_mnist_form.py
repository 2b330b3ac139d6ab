"""Digits of any size are brought to MNIST's form."""

import pytest
import torch
import torch.nn.functional as F

from src.data.sources.registry import load_dataset
from src.errors import InputError
from src.pictures.mnist_form import BOX, CENTER, FRAME, INK_THRESHOLD, to_mnist_form


def rings(side: int, count: int = 12) -> torch.Tensor:
    """Rings with a tail, of `count` proportions, the same at every size, as a camera of `side` pixels sees them."""
    position = (torch.arange(side * 4) + 0.5) / (side * 4) - 0.5
    rows, columns = position.view(1, -1, 1), position.view(1, 1, -1)
    high, wide = (torch.linspace(*ends, count).view(-1, 1, 1) for ends in ((0.2, 0.4), (0.4, 0.2)))
    radius = ((rows / high).square() + (columns / wide).square()).sqrt()
    ring = (radius - 1).abs() * torch.minimum(high, wide) < 0.05
    tail = ((columns - wide * 0.8).abs() < 0.05) & (rows > 0) & (rows < 0.45)
    return F.avg_pool2d((ring | tail).float().unsqueeze(1) * 255, 4).round().to(torch.uint8)


@pytest.fixture(scope="module")
def small_scans() -> torch.Tensor:
    """The 8x8 digits of scikit-learn."""
    from sklearn.datasets import load_digits

    return (torch.from_numpy(load_digits().images).unsqueeze(1) * (255 / 16)).round().to(torch.uint8)


def sides(images: torch.Tensor) -> torch.Tensor:
    """Height and width of the ink: (N, 2)."""
    ink = images[:, 0] > images.amax((2, 3)).unsqueeze(2) * INK_THRESHOLD
    position = torch.arange(1, images.shape[2] + 1)
    spans = []
    for inked in (ink.any(2), ink.any(1)):
        after = (inked * position).amax(1)
        before = (inked * position.flip(0)).amax(1)
        spans.append(after + before - images.shape[2])
    return torch.stack(spans, 1)


def max_difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.float() - other.float()).abs().max())


@pytest.mark.parametrize("side", [16, 28, 45, 200])
def test_the_longer_side_is_20_pixels_and_the_frame_28(side):
    result = to_mnist_form(rings(side))
    assert result.dtype == torch.uint8
    assert result.shape == (12, 1, FRAME, FRAME)
    assert sides(result).amax(1).tolist() == [BOX] * 12


def test_scans_of_8_pixels_become_20_pixels_long(small_scans):
    assert sides(to_mnist_form(small_scans)).amax(1).unique().tolist() == [BOX]


@pytest.mark.parametrize("side", [28, 90])
def test_a_second_pass_changes_nothing(side, small_scans):
    for images in (rings(side), small_scans):
        once = to_mnist_form(images)
        assert torch.equal(to_mnist_form(once), once)


def test_the_position_of_the_ink_does_not_matter():
    images = rings(28)
    result = to_mnist_form(F.pad(images, [20, 20, 20, 20]))
    for left, top in [(0, 0), (3, 40), (40, 17)]:
        moved = F.pad(images, [left, 40 - left, top, 40 - top])
        assert max_difference(to_mnist_form(moved), result) <= 1


def test_empty_margins_do_not_matter():
    images = rings(28)
    assert max_difference(to_mnist_form(F.pad(images, [9, 1, 30, 0])), to_mnist_form(images)) <= 1


@pytest.mark.parametrize("times", [2, 3, 7])
def test_the_size_of_a_picture_hardly_matters(times):
    small, large = to_mnist_form(rings(60)).float(), to_mnist_form(rings(60 * times)).float()
    moves = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]  # half a pixel is rounded either way
    change = torch.stack([(large.roll(move, (2, 3)) - small).abs().mean((1, 2, 3)) for move in moves])
    assert float(change.amin(0).max()) < 9  # neighbouring rings are 11 to 14 apart at best


def test_thin_lines_are_averaged_when_they_shrink():
    lines = torch.zeros(1, 1, 400, 400, dtype=torch.uint8)
    lines[:, :, ::2] = 255  # finer than a pixel of the result: an even grey
    result = to_mnist_form(lines)[0, 0, 6:22, 6:22].float()
    assert max_difference(result, torch.full_like(result, 127.5)) < 5


@pytest.mark.parametrize(("height", "width"), [(40, 10), (10, 40), (8, 3), (30, 25), (26, 25), (200, 20), (7, 7)])
def test_the_aspect_ratio_is_kept(height, width):
    block = torch.zeros(1, 1, 210, 210, dtype=torch.uint8)
    block[:, :, 5 : 5 + height, 2 : 2 + width] = 180
    grey = to_mnist_form(block)[0, 0].float()
    middle = grey[CENTER - 1 : CENTER + 2, CENTER - 1 : CENTER + 2].mean()
    spans = grey[:, CENTER].sum() / middle, grey[CENTER].sum() / middle
    assert float(spans[0] / spans[1]) == pytest.approx(height / width, rel=0.1)


def test_the_centre_of_mass_is_in_the_middle_and_no_ink_leaves_the_frame():
    images = rings(50)
    lopsided = torch.zeros(2, 1, 50, 50, dtype=torch.uint8)
    lopsided[:, :, 10:50, 20] = 40  # a long faint line with a heavy end: its middle would push the line out
    lopsided[0, :, 10:14, 14:26] = lopsided[1, :, 46:50, 14:26] = 255
    result = to_mnist_form(torch.cat([images, lopsided]))
    assert sides(result).amax(1).tolist() == [BOX] * 14
    grey, position = result[:12, 0].float(), torch.arange(28.0)
    for across in (1, 2):
        centre = grey.sum(across) @ position / grey.sum((1, 2))
        assert float((centre - CENTER).abs().max()) <= 0.5 + 1e-4


def test_an_empty_image_stays_empty_and_changes_no_other():
    images = rings(20)
    images[3] = 0
    result = to_mnist_form(images)
    assert int(result[3].max()) == 0
    others = torch.arange(12) != 3
    assert torch.equal(result[others], to_mnist_form(images[others]))
    assert to_mnist_form(images[:0]).shape == (0, 1, FRAME, FRAME)


def test_faint_ink_and_a_little_noise_do_not_matter():
    images = rings(60) // 4 * 4
    faint = (to_mnist_form(images // 4).float() * 4).clamp(max=255)
    assert max_difference(faint, to_mnist_form(images)) <= 16  # ink starts at level 13
    noisy = F.pad(images, [10] * 4)
    noisy = noisy.maximum(torch.randint(0, 12, noisy.shape).to(torch.uint8))
    assert torch.equal(sides(to_mnist_form(noisy)), sides(to_mnist_form(images)))


@pytest.mark.parametrize("chunk_px", [1, 28 * 28 * 5, 28 * 28 * 12])
def test_the_chunk_size_does_not_matter(chunk_px):
    images = rings(28)
    assert torch.equal(to_mnist_form(images, chunk_px), to_mnist_form(images))


@pytest.mark.parametrize(
    "wrong",
    [torch.zeros(2, 1, 8, 8), torch.zeros(2, 3, 8, 8).byte(), torch.zeros(8, 8).byte(), torch.zeros(2, 1, 0, 8).byte()],
)
def test_tensors_of_another_dtype_or_shape_are_refused(wrong):
    with pytest.raises(InputError, match=r"uint8 \(N, 1, H, W\)"):
        to_mnist_form(wrong)


def test_mnist_is_in_this_form_already(mnist_root):
    images = load_dataset("mnist", root=str(mnist_root), download=False).test().images
    change = (to_mnist_form(images).float() - images.float()).abs().flatten(1)
    assert float(change.mean()) < 0.02
    assert float((change.amax(1) == 0).float().mean()) > 0.93
    assert float((change.amax(1) > 13).float().mean()) < 0.001
