"""Transforms of one image as an augmentation: a draw per image, a function of the generator alone."""

import pytest
import torch
from torchvision.transforms import v2

from src.data.augment import Shift
from src.data.per_image import PerImage, as_augmentation, try_augmentation
from src.errors import InputError


def batch(count: int = 16, channels: int = 3, side: int = 12) -> torch.Tensor:
    one = torch.randint(
        0, 256, (1, channels, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    return one.repeat(count, 1, 1, 1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    "transform",
    [
        v2.RandomHorizontalFlip(),
        v2.RandomRotation(20),
        v2.ColorJitter(0.5, 0.5),
        v2.RandomResizedCrop(12, scale=(0.5, 1.0)),
        v2.RandomErasing(0.7),
        v2.TrivialAugmentWide(),
        v2.Compose([v2.RandomCrop(8), v2.Resize(12)]),
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_each_image_has_its_own_draw_and_the_same_generator_gives_the_same(transform):
    augment, images = as_augmentation(transform), batch()
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first, second, third = (augment(images, seeded(seed)) for seed in (0, 0, 1))
    assert torch.random.get_rng_state().equal(before)
    assert first.shape == images.shape and first.dtype == torch.uint8
    assert first.equal(second) and not first.equal(third)
    assert len({image.numpy().tobytes() for image in first}) > 1


def test_transforms_of_a_list_follow_one_another():
    augment, images = PerImage([v2.RandomCrop(8), v2.Resize(12), v2.Lambda(lambda image: 255 - image)]), batch()
    assert augment(images, seeded()).equal(255 - PerImage([v2.RandomCrop(8), v2.Resize(12)])(images, seeded()))
    assert PerImage([])(images, seeded()).equal(images)


def test_an_augmentation_of_batches_stays_as_it_is():
    shift = Shift(1)
    assert as_augmentation(shift) is shift
    try_augmentation(shift, batch(2))
    with pytest.raises(InputError, match="cannot be called"):
        as_augmentation(3)


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        (v2.CenterCrop(8), "CenterCrop makes 3x8x8 of 3x12x12"),
        (v2.Grayscale(1), "Grayscale makes 1x12x12 of 3x12x12"),
        (v2.ToDtype(torch.float32, scale=True), "grey levels; they stay 0 to 255"),
        (v2.Normalize((0.5,) * 3, (0.5,) * 3), "Normalize fails"),
        (v2.MixUp(num_classes=3), "MixUp fails"),
        (v2.ToPILImage(), "returns Image and no image"),
        (lambda image: image[None], "makes 1x3x12x12"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_changes_the_form_of_an_image_is_refused(transform, reason):
    with pytest.raises(InputError, match=reason) as caught:
        try_augmentation(as_augmentation(transform), batch(2))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("transforms", ["RandomCrop", ["RandomCrop"], [None], 3])
def test_a_list_of_other_things_is_refused(transforms):
    with pytest.raises(InputError, match=r"augment\.transforms"):
        PerImage(transforms)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_draws_from_its_generator_too():
    images, generator = batch().cuda(), torch.Generator("cuda")
    augment = PerImage([v2.RandomRotation(20), v2.GaussianNoise()])
    before = torch.cuda.get_rng_state()
    assert augment(images, generator.manual_seed(0)).equal(augment(images, generator.manual_seed(0)))
    assert torch.cuda.get_rng_state().equal(before)
