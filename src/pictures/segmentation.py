"""One picture's ink segmented into digits, in reading order."""

from dataclasses import dataclass

import numpy as np
import scipy  # which loads scipy.ndimage at its first use
from PIL import Image

Box = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom are exclusive
SIDE = 64  # ink is labelled at about this many pixels on its shorter side, and returned at about so many on its longer
LABEL_THRESHOLD = 0.25  # components end where ink is fainter than this share of the strongest
SPECK_SIDE, SPECK_AREA = 0.2, 0.04  # a speck's side as a share of the tallest component's, its area of the largest's
MIN_OVERLAP = 0.5  # share of the narrower one's width by which a component lies above or below another
PIECE_HEIGHT, SHORT = 0.36, 0.6  # a component shorter than this share of its neighbour is a piece of it, if it is close
# Gaps within a digit as shares of its height: in general, between two components of a digit's shape, beside a bar.
GAP, GAP_BETWEEN_DIGITS, GAP_BAR = 0.2, 0.06, 0.35
BAR_OFFSET = 0.2  # a bar's middle is this share of the neighbour's height above or below the neighbour's
BAR_ASPECT = 1.4  # a component wider than this times its height is no digit by itself
WIDE_ASPECT = 1.5  # of 1,000 digits 6 are wider than this times their height
WIDE_NOTE = "wide for a digit: digits that touch are read as one"
MAX_DIGITS = 32  # on one picture
EIGHT_CONNECTED = np.ones((3, 3), bool)


def find_digits(ink: np.ndarray, several: bool = True) -> tuple[list[tuple[np.ndarray, Box]], tuple[str, ...]]:
    """Segment ink, uint8 (H, W), light on black and cropped to its bounding box, into digits, from left to right.

    Returns the ink of each, uint8 (h, w), with its box in the input, and remarks for the user.
    Pieces of a broken stroke or a loose bar join their digit, specks are dropped. Lines of digits are read from the top
    down, with a note. Digits that touch are one, with a note if that is wide for a digit: cutting at narrow places read
    35 % of touching pairs correctly, but broke 0.2 % of single digits and 1.5 % of numbers without any that touch. With
    one component, or without `several`, all of the ink is one digit, specks included.
    """
    step = max(1, min(ink.shape) // SIDE)
    image = Image.fromarray(ink)
    small = _reduce(image, step)
    notes: tuple[str, ...] = ()
    if several:
        labels, count = scipy.ndimage.label(small > small.max() * LABEL_THRESHOLD, EIGHT_CONNECTED)
        candidates = _merge_components(labels, count) if count > 1 else []
        if 0 < len(candidates) <= MAX_DIGITS and (len(candidates) > 1 or len(candidates[0].labels) < count):
            lines = _group_lines(candidates)
            if len(lines) > 1:
                notes = (f"{len(lines)} lines, read from the top one down",)
            notes += (WIDE_NOTE,) * any(one.width > WIDE_ASPECT * one.height for one in candidates)
            return _cut(ink, labels, count, [one for line in lines for one in line], step), notes
        if len(candidates) > MAX_DIGITS:
            notes = (f"{len(candidates)} parts, more than {MAX_DIGITS} digits: read as one",)
        elif ink.shape[1] > WIDE_ASPECT * ink.shape[0]:
            notes = (WIDE_NOTE,)
    factor = max(ink.shape) // SIDE
    whole = small if factor <= step else _reduce(image, factor)
    return [(whole, (0, 0, ink.shape[1], ink.shape[0]))], notes


def _reduce(ink: Image.Image, factor: int) -> np.ndarray:
    return np.asarray(ink.reduce(factor) if factor > 1 else ink)


@dataclass
class _Candidate:
    """Connected components that form one digit: their labels and their bounding box."""

    labels: list[int]
    left: int
    top: int
    right: int
    bottom: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def is_bar(self) -> bool:
        return self.width > BAR_ASPECT * self.height

    def merge(self, other: "_Candidate") -> None:
        self.labels += other.labels
        self.left, self.top = min(self.left, other.left), min(self.top, other.top)
        self.right, self.bottom = max(self.right, other.right), max(self.bottom, other.bottom)


def _merge_components(labels: np.ndarray, count: int) -> list[_Candidate]:
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    boxes = scipy.ndimage.find_objects(labels)
    components = [_Candidate([i + 1], c.start, r.start, c.stop, r.stop) for i, (r, c) in enumerate(boxes)]
    tallest, largest = max(max(one.height, one.width) for one in components), areas.max()
    candidates = [
        component
        for component, area in zip(components, areas, strict=True)
        if max(component.height, component.width) > SPECK_SIDE * tallest or area > SPECK_AREA * largest
    ]
    if len(candidates) > 4 * MAX_DIGITS:
        return candidates
    while _merge_shortest_piece(candidates):
        pass
    return candidates


def _merge_shortest_piece(candidates: list[_Candidate]) -> bool:
    """Merge the shortest piece of a taller candidate into the nearest of these; false if there is none."""
    candidates.sort(key=lambda one: one.height)
    for index, piece in enumerate(candidates):
        near = [other for other in candidates[index + 1 :] if _is_piece_of(piece, other)]
        if near:
            min(near, key=lambda other: _distance(piece, other)).merge(piece)
            del candidates[index]
            return True
    return False


def _distance(one: _Candidate, other: _Candidate) -> float:
    return max(0, one.left - other.right, other.left - one.right, one.top - other.bottom, other.top - one.bottom)


def _is_piece_of(piece: _Candidate, other: _Candidate) -> bool:
    """Whether `piece`, the shorter of the two, belongs to the same digit as `other`.

    One above the other: if they are close, and closer still if both have a digit's shape, for they may be two lines.
    Side by side: if it is a bar, or far too small for a digit.
    """
    overlap = min(piece.right, other.right) - max(piece.left, other.left)
    if overlap >= MIN_OVERLAP * min(piece.width, other.width):
        gap = max(piece.top - other.bottom, other.top - piece.bottom)
        total = max(piece.bottom, other.bottom) - min(piece.top, other.top)
        both_digits = not (piece.is_bar or other.is_bar) and piece.height > SHORT * other.height
        return gap < (GAP_BETWEEN_DIGITS if both_digits else GAP) * total
    distance = _distance(piece, other)
    off_middle = abs(piece.top + piece.bottom - other.top - other.bottom) / 2 > BAR_OFFSET * other.height
    if piece.is_bar and piece.height < SHORT * other.height and off_middle:
        return distance < GAP_BAR * other.height
    is_small = piece.height < PIECE_HEIGHT * other.height and distance < GAP * other.height
    return is_small and not (piece.is_bar and not off_middle)


def _group_lines(candidates: list[_Candidate]) -> list[list[_Candidate]]:
    """Lines from the top down, each from left to right: middles lie between top and bottom of the line's tallest."""
    lines: list[list[_Candidate]] = []
    for candidate in sorted(candidates, key=lambda one: -one.height):
        middle = (candidate.top + candidate.bottom) / 2
        line = next((line for line in lines if line[0].top <= middle < line[0].bottom), [])
        if not line:
            lines.append(line)
        line.append(candidate)
    lines.sort(key=lambda line: line[0].top)
    return [sorted(line, key=lambda one: one.left + one.right) for line in lines]


def _cut(
    ink: np.ndarray, labels: np.ndarray, count: int, digits: list[_Candidate], step: int
) -> list[tuple[np.ndarray, Box]]:
    """Each digit's ink without the others', with the faint ink around it."""
    digit_of_label = np.zeros(count + 1, np.int16)
    for number, digit in enumerate(digits, 1):
        digit_of_label[digit.labels] = number
    owners = digit_of_label[labels]
    specks = (owners == 0) & (labels > 0)
    for _ in range(2):
        owners = np.where(owners, owners, scipy.ndimage.maximum_filter(owners, 3))
    owners = np.where(specks, 0, owners)
    height, width = ink.shape
    found = []
    for number, digit in enumerate(digits, 1):
        rows = slice(max(0, digit.top - 2), digit.bottom + 2)
        columns = slice(max(0, digit.left - 2), digit.right + 2)
        mask = owners[rows, columns] == number
        crop = ink[rows.start * step : rows.stop * step, columns.start * step : columns.stop * step]
        if step > 1:
            mask = mask.repeat(step, 0).repeat(step, 1)[: crop.shape[0], : crop.shape[1]]
        crop = np.where(mask, crop, np.uint8(0))
        box = digit.left * step, digit.top * step, min(width, digit.right * step), min(height, digit.bottom * step)
        found.append((_reduce(Image.fromarray(crop), max(crop.shape) // SIDE), box))
    return found
