"""From a picture to the digits on it, each as a network reads it: the one way for files, requests and tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from src.errors import require
from src.pictures.decode import FILES, Limits, decode, square
from src.pictures.foreground import FAINT, ExtractedInk, extract_ink
from src.pictures.mnist_form import FRAME, to_mnist_form
from src.pictures.segmentation import Box, find_digits

WITHIN = 1024  # longest side that ink is looked for in, pixels; a larger picture is reduced


@dataclass(frozen=True)
class DecodedPicture:
    """A picture that is decoded and looked at as a whole, but not parted into digits yet; made by `Reader.open`.

    shape: height and width in which it was looked at. found: its ink; or uint8 (C, H, W) as the network reads it, where
    ink is not looked for. size, notes: as in `src.pictures.decode.Picture`.
    """

    found: ExtractedInk | np.ndarray
    shape: tuple[int, int]
    size: tuple[int, int]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class SegmentedPicture:
    """A picture reduced to its digits, before they are brought to one size; made by `Reader.page`.

    digits: uint8 each, (h, w), light ink on black; or (C, H, W) as the network reads it, where ink is not looked for.
    """

    digits: list[np.ndarray]
    boxes: list[Box]
    size: tuple[int, int]
    inverted: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ReaderOutput:
    """What a network is asked about a picture.

    images: uint8 (n, C, H, W), from left to right, a top line before the next; n is 0 for an empty page.
    boxes: of each, (left, top, right, bottom) in pixels of the upright picture as it was sent, right and bottom not
    included. size: that picture's width and height. inverted: whether dark ink was made light. reason: "empty" or None.
    """

    images: np.ndarray
    boxes: list[Box]
    size: tuple[int, int]
    inverted: bool
    reason: str | None
    notes: tuple[str, ...]


class Reader:
    """Brings pictures to what a network reads.

    shape: (channels, height, width) of its images.

    ink: find what is written, lighten it if it is dark, take the paper away, and bring it to MNIST's form; without it a
    picture is fitted into the network's square, as data=folder does. several: look for more than one digit, unless
    the picture is not larger than 28x28, an image of a data set.
    Raises InputError for a shape that neither form fits.
    """

    def __init__(self, shape: tuple[int, int, int], ink: bool, several: bool = True):
        channels, height, width = self.shape = shape
        require(height == width, f"this network reads {height}x{width}: pictures of files are square")
        require(channels in (1, 3), f"this network reads {channels} channels: pictures of files have 1 or 3")
        require(not ink or self.shape == (1, FRAME, FRAME), f"MNIST's form is 1x28x28, not {channels}x{height}x{width}")
        self.ink, self.several = ink, several

    def open(self, source: Path | bytes, limits: Limits = FILES) -> DecodedPicture:
        """Decode a picture and lift its ink: the part of `page` that several threads gain by, most of it being in C.

        Raises PictureError (`src.pictures.decode.decode`).
        """
        if not self.ink:
            picture = decode(source, limits, self.shape[0])
            found, shape = square(picture.image, self.shape[1], self.shape[0]), self.shape[1:]
        else:
            picture = decode(source, limits, 1, WITHIN)
            pixels = picture.pixels
            found, shape = extract_ink(pixels, picture.lossy), pixels.shape
        return DecodedPicture(found, shape, picture.size, picture.notes)

    def page(self, source: Path | bytes | DecodedPicture, limits: Limits = FILES) -> SegmentedPicture:
        """Find what is on a picture, opened or not; safe to call from several threads.

        Raises PictureError (`src.pictures.decode.decode`).
        """
        opened = source if isinstance(source, DecodedPicture) else self.open(source, limits)
        lifted, size, notes = opened.found, opened.size, opened.notes
        if isinstance(lifted, np.ndarray):
            return SegmentedPicture([lifted], [(0, 0, *size)], size, False, notes)
        if lifted.ink is None:
            return SegmentedPicture([], [], size, lifted.inverted, notes)
        found = find_digits(lifted.ink, self.several and max(size) > FRAME)
        reduced = size[0] / opened.shape[1], size[1] / opened.shape[0]
        boxes = [_placed(box, lifted.corner, lifted.scale, reduced) for _, box in found.digits]
        return SegmentedPicture([digit for digit, _ in found.digits], boxes, size, lifted.inverted, notes + found.notes)

    def read(self, pages: Sequence[SegmentedPicture]) -> list[ReaderOutput]:
        """What a network is to be asked about each page; all their digits are brought to MNIST's form at once."""
        digits = [digit for page in pages for digit in page.digits]
        if not digits:
            images = np.empty((0, *self.shape), np.uint8)
        elif not self.ink:
            images = np.stack(digits)
        else:
            side = max(max(digit.shape) for digit in digits)
            padded = np.zeros((len(digits), 1, side, side), np.uint8)
            for frame, digit in zip(padded, digits, strict=True):
                frame[0, : digit.shape[0], : digit.shape[1]] = digit
            images = _strong(to_mnist_form(torch.from_numpy(padded)).numpy())
        readings, start = [], 0
        for page in pages:
            end = start + len(page.digits)
            reason = None if page.digits else "empty"
            readings.append(ReaderOutput(images[start:end], page.boxes, page.size, page.inverted, reason, page.notes))
            start = end
        return readings


def _strong(images: np.ndarray) -> np.ndarray:
    """Lines that are thin for their length are faint at 28x28: where nothing is light, all is made lighter."""
    tops = images.max((1, 2, 3), keepdims=True)
    if tops.min() >= FAINT:
        return images
    factors = np.where((tops < FAINT) & (tops > 0), np.float32(255) / np.maximum(tops, 1), np.float32(1))
    return np.rint(images * factors).astype(np.uint8)


def _placed(box: Box, corner: tuple[int, int], scale: int, reduced: tuple[float, float]) -> Box:
    """A box of lifted ink in pixels of the picture as it was sent."""
    return tuple(round((side * scale + corner[i % 2]) * reduced[i % 2]) for i, side in enumerate(box))
