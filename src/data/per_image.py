"""Transforms of one image, such as torchvision's v2, as an augmentation of whole batches."""

import inspect
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from src.errors import InputError, printable, require

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


class PerImage:
    """Apply transforms one after another to each image of a batch, so that each has its own draw.

    transforms: each takes an image uint8 (C, H, W) and returns one of the same shape and type; torchvision's v2 do.
    They draw from torch's global generator, which here starts from `generator` and is put back afterwards.
    Raises InputError for a transform that fails, or returns another shape or type.
    """

    def __init__(self, transforms: Sequence[Callable[[Tensor], Tensor]]):
        require(isinstance(transforms, Sequence), f"augment.transforms={transforms}: a list of transforms")
        for position, transform in enumerate(transforms):
            wrong = f"augment.transforms[{position}]={printable(transform, 100)}: a transform has a _target_"
            require(callable(transform), f"{wrong}, such as torchvision.transforms.v2.RandomHorizontalFlip")
        self.transforms = list(transforms)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        cuda = [images.device.index or 0] if images.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            torch.manual_seed(seed)
            return torch.stack([self._transform(image) for image in images])

    def _transform(self, image: Tensor) -> Tensor:
        before = image
        for transform in self.transforms:
            name, size = f"augment: {type(transform).__name__}", _size(image)
            try:
                image = transform(image)
            except Exception as error:  # of whatever kind its author chose
                raise InputError(f"{name} fails on an image uint8 {size}: {printable(error, 200)}") from None
            require(isinstance(image, Tensor), f"{name} returns {type(image).__name__} and no image")
        name = " and ".join(type(transform).__name__ for transform in self.transforms)
        advice = "an augmentation keeps the size; give it this size, or end with a Resize to it"
        require(image.shape == before.shape, f"augment: {name} makes {_size(image)} of {_size(before)}: {advice}")
        return image


def _size(image: Tensor) -> str:
    return "x".join(map(str, image.shape))


def as_augmentation(augment: object) -> Augmentation:
    """An augmentation as it is, which is called with images and a generator; a transform of one image as `PerImage`.

    Raises InputError for anything else.
    """
    require(callable(augment), f"augment: {type(augment).__name__} is no augmentation: it cannot be called")
    assert callable(augment)
    function = augment.forward if isinstance(augment, torch.nn.Module) else augment
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return PerImage([augment])
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return augment if len(positional) > 1 else PerImage([augment])


def try_augmentation(augment: Augmentation, images: Tensor) -> None:
    """Raise InputError for an augmentation that changes the form of images, or draws from elsewhere than `generator`.

    images: some of the training images, uint8 (B, C, H, W).
    """
    name, generator = type(augment).__name__, torch.Generator(images.device)
    try:
        first, second = (augment(images, generator.manual_seed(0)) for _ in range(2))
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"augment: {name} fails on {tuple(images.shape)}: {printable(error, 200)}") from None
    require(isinstance(first, Tensor), f"augment: {name} returns {type(first).__name__} and no images")
    same = first.shape == images.shape
    require(same, f"augment: {name} makes {_size(first)} of {_size(images)}: an augmentation keeps the shape")
    grey = first.dtype == torch.uint8 or (first.is_floating_point() and float(first.max()) > 1)
    grey = grey or int(images.max()) <= 1
    require(grey, f"augment: {name} scales grey levels; they stay 0 to 255, as normalization follows")
    drawn = "draws from another generator than it is given: a resumed run would differ"
    require(first.equal(second), f"augment: {name} {drawn}")
