"""From a picture to the digits on it, as a network reads them: the one way for files, requests and tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from src.errors import require
from src.pictures.decode import FILE_LIMITS, DecodeLimits, PictureError, decode, fit_square
from src.pictures.foreground import FAINT, ExtractedInk, extract_ink
from src.pictures.mnist_form import FRAME, to_mnist_form
from src.pictures.segmentation import Box, find_digits

MAX_SIDE = 1024  # longer side at which ink is searched, pixels; larger pictures are reduced


@dataclass(frozen=True)
class DecodedPicture:
    """A picture decoded, its ink extracted, not yet segmented.

    content: its ink; or uint8 (C, H, W) as the network reads it, for a reader without ink. shape: height and width it
    was processed at. size, notes: as in `src.pictures.decode.Picture`.
    """

    content: ExtractedInk | np.ndarray
    shape: tuple[int, ...]
    size: tuple[int, int]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class SegmentedPicture:
    """The digits of a picture, from left to right, line by line, before they are scaled to one size.

    digits: of each, uint8 (h, w), light ink on black; or the picture, uint8 (C, H, W) as the network reads it, for a
    reader without ink. boxes: of each, in pixels of the upright original. size: width and height of that original.
    inverted: whether dark ink was made light.
    """

    digits: list[np.ndarray]
    boxes: list[Box]
    size: tuple[int, int]
    inverted: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class NetworkInput(SegmentedPicture):
    """The same with the images that a network classifies, uint8 (n, C, H, W); n is 0 for an empty picture."""

    images: np.ndarray

    @property
    def reason(self) -> str | None:
        """Why there are no images."""
        return None if self.boxes else "empty"


class Reader:
    """Turns pictures into images of the shape that a network reads.

    shape: (channels, height, width). ink: find the ink, remove the background and bring each digit to MNIST's form;
    without it a picture is fitted into the network's square, as data=folder does. several: segment into digits, except
    pictures of at most 28x28, which are images of a data set.
    Raises InputError for a shape that pictures cannot be brought to.
    """

    def __init__(self, shape: tuple[int, int, int], ink: bool, several: bool = True):
        channels, height, width = self.shape = shape
        require(height == width, f"this network reads {height}x{width}: pictures need a network of square images")
        require(channels in (1, 3), f"this network reads {channels} channels: pictures have 1 or 3")
        require(not ink or self.shape == (1, FRAME, FRAME), f"MNIST's form is 1x28x28, not {channels}x{height}x{width}")
        self.ink, self.several = ink, several

    def read(self, source: Path | bytes, path: Path | None = None) -> tuple[np.ndarray, tuple[str, ...]]:
        """One image of a whole picture, uint8 (C, H, W), as a labelled picture is read, and remarks; thread-safe.

        With ink, all ink of the picture is one digit. path: the file that bytes were read from.
        Raises PictureError, also for a picture without ink.
        """
        path = source if isinstance(source, Path) else path
        decoded = self.decode(source, path=path)
        if isinstance(decoded.content, np.ndarray):
            return decoded.content, decoded.notes
        if decoded.content.ink is None:
            raise PictureError(f"{path or 'the picture'} holds no ink: it is of one grey level", "empty")
        digits, _ = find_digits(decoded.content.ink, several=False)
        return self._to_images([digit for digit, _ in digits])[0], decoded.notes

    def decode(
        self, source: Path | bytes, limits: DecodeLimits = FILE_LIMITS, path: Path | None = None
    ) -> DecodedPicture:
        """Decode a picture and extract its ink: the part of `segment` that gains by threads. Raises PictureError."""
        if not self.ink:
            picture = decode(source, limits, self.shape[0], path=path)
            image = fit_square(picture.image, self.shape[1], self.shape[0])
            return DecodedPicture(image, self.shape[1:], picture.size, picture.notes)
        picture = decode(source, limits, 1, MAX_SIDE, path)
        pixels = picture.pixels
        return DecodedPicture(extract_ink(pixels, picture.lossy), pixels.shape, picture.size, picture.notes)

    def segment(self, source: Path | bytes | DecodedPicture, limits: DecodeLimits = FILE_LIMITS) -> SegmentedPicture:
        """Find the digits of a picture, decoded or not. Thread-safe. Raises PictureError, as `decode` does."""
        decoded = source if isinstance(source, DecodedPicture) else self.decode(source, limits)
        content, size, notes = decoded.content, decoded.size, decoded.notes
        if isinstance(content, np.ndarray):
            return SegmentedPicture([content], [(0, 0, *size)], size, False, notes)
        if content.ink is None:
            return SegmentedPicture([], [], size, content.inverted, notes)
        digits, remarks = find_digits(content.ink, self.several and max(size) > FRAME)
        reduction = size[0] / decoded.shape[1], size[1] / decoded.shape[0]
        boxes = [_to_original(box, content, reduction) for _, box in digits]
        return SegmentedPicture([digit for digit, _ in digits], boxes, size, content.inverted, notes + remarks)

    def to_network_input(self, pictures: Sequence[SegmentedPicture]) -> list[NetworkInput]:
        """The images of each picture; the digits of all pictures are brought to MNIST's form at once."""
        images = self._to_images([digit for picture in pictures for digit in picture.digits])
        inputs, start = [], 0
        for picture in pictures:
            end = start + len(picture.digits)
            inputs.append(NetworkInput(**vars(picture), images=images[start:end]))
            start = end
        return inputs

    def _to_images(self, digits: list[np.ndarray]) -> np.ndarray:
        if not digits:
            return np.empty((0, *self.shape), np.uint8)
        if not self.ink:
            return np.stack(digits)
        side = max(max(digit.shape) for digit in digits)
        padded = np.zeros((len(digits), 1, side, side), np.uint8)
        for frame, digit in zip(padded, digits, strict=True):
            frame[0, : digit.shape[0], : digit.shape[1]] = digit
        return _stretch_faint(to_mnist_form(torch.from_numpy(padded)).numpy())


def _stretch_faint(images: np.ndarray) -> np.ndarray:
    """Stretch images whose lightest pixel is below FAINT to white: lines thin for their length are faint at 28x28."""
    peaks = images.max((1, 2, 3), keepdims=True)
    if peaks.min() >= FAINT:
        return images
    factors = np.where((peaks < FAINT) & (peaks > 0), np.float32(255) / np.maximum(peaks, 1), np.float32(1))
    return np.rint(images * factors).astype(np.uint8)


def _to_original(box: Box, ink: ExtractedInk, reduction: tuple[float, float]) -> Box:
    left, top, right, bottom = (
        round((edge * ink.scale + ink.corner[i % 2]) * reduction[i % 2]) for i, edge in enumerate(box)
    )
    return left, top, right, bottom
