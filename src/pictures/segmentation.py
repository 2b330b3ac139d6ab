"""The digits of one picture: parts of ink that belong together, in the order in which they are read."""

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

Box = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom are not included
SIDE = 64  # ink is looked at with its shorter side this long, and handed on with its longer side about this long
STRONG = 0.25  # ink parts where it is fainter than this share of the strongest
SPECK, SPECK_AREA = 0.2, 0.04  # a speck's sides as a share of the tallest part, and its area as one of the largest
OVER = 0.5  # share of the narrower one's width by which a part lies above or below another
PIECE, SHORT = 0.36, 0.6  # a part less tall than this share of its neighbour is a piece, if it is close
CLOSE, CLOSE_ALIKE, CLOSE_BAR = 0.2, 0.06, 0.35  # gaps within a digit as shares of its height
ASIDE = 0.2  # a bar's middle is this share of the neighbour's height above or below the neighbour's
BAR = 1.4  # what is wider than this times its height is no digit by itself
WIDE = 1.5  # of 1,000 digits 6 are wider than this times their height
TOUCHING = "wide for a digit: digits that touch are read as one"
MOST = 32  # digits on one picture
ALL_SIDES = np.ones((3, 3), bool)


@dataclass(frozen=True)
class Found:
    """digits: of each its ink, uint8 (h, w), and its box in what was searched; notes: for the person who sent it."""

    digits: list[tuple[np.ndarray, Box]]
    notes: tuple[str, ...] = ()


def find_digits(ink: np.ndarray, several: bool = True) -> Found:
    """Part ink, uint8 (H, W), light on black and cropped to what there is, into digits, from left to right.

    Pieces of a broken stroke or a loose bar are put to their digit, specks are left out. Lines of digits are read from
    the top one down, and noted. Parts that touch are one, and what is wide for a digit is noted: cutting at necks read
    35 % of touching pairs rightly, but broke 0.2 % of single digits and 1.5 % of numbers without any that touch. With
    one part, or without `several`, all of the ink is one digit, specks included.
    """
    step = max(1, min(ink.shape) // SIDE)
    image = Image.fromarray(ink)
    small = _reduced(image, step)
    labels, count = ndimage.label(small > small.max() * STRONG, ALL_SIDES) if several else (None, 1)
    groups = _groups(labels, count) if count > 1 else []
    if 0 < len(groups) <= MOST and (len(groups) > 1 or len(groups[0].parts) < count):
        lines = _lines(groups)
        order = [group for line in lines for group in line]
        notes = (f"{len(lines)} lines, read from the top one down",) if len(lines) > 1 else ()
        notes += (TOUCHING,) * any(group.width > WIDE * group.height for group in groups)
        return Found(_cut(ink, labels, count, order, step), notes)
    long = max(ink.shape) // SIDE
    one = small if long <= step else _reduced(image, long)
    notes = (TOUCHING,) * (several and ink.shape[1] > WIDE * ink.shape[0])
    if len(groups) > MOST:
        notes = (f"{len(groups)} parts, more than {MOST} digits: read as one",)
    return Found([(one, (0, 0, ink.shape[1], ink.shape[0]))], notes)


def _reduced(ink: Image.Image, step: int) -> np.ndarray:
    return np.asarray(ink.reduce(step) if step > 1 else ink)


@dataclass
class _Group:
    """Parts of one digit, by their labels, and the box around them."""

    parts: list[int]
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
    def flat(self) -> bool:
        return self.width > BAR * self.height

    def join(self, other: "_Group") -> None:
        self.parts += other.parts
        self.left, self.top = min(self.left, other.left), min(self.top, other.top)
        self.right, self.bottom = max(self.right, other.right), max(self.bottom, other.bottom)


def _groups(labels: np.ndarray, count: int) -> list[_Group]:
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    boxes = ndimage.find_objects(labels)
    groups = [_Group([i + 1], c.start, r.start, c.stop, r.stop) for i, (r, c) in enumerate(boxes)]
    tallest, largest = max(max(g.height, g.width) for g in groups), areas.max()
    groups = [
        group
        for group, area in zip(groups, areas, strict=True)
        if max(group.height, group.width) > SPECK * tallest or area > SPECK_AREA * largest
    ]
    if len(groups) > 4 * MOST:
        return groups
    merged = True
    while merged and len(groups) > 1:
        merged = False
        groups.sort(key=lambda group: group.height)
        for place, part in enumerate(groups):
            near = [(_distance(part, other), other) for other in groups[place + 1 :] if _belongs(part, other)]
            if near:
                min(near, key=lambda pair: pair[0])[1].join(part)
                del groups[place]
                merged = True
                break
    return groups


def _distance(one: _Group, other: _Group) -> float:
    across = max(0, one.left - other.right, other.left - one.right)
    down = max(0, one.top - other.bottom, other.top - one.bottom)
    return max(across, down)


def _belongs(part: _Group, other: _Group) -> bool:
    """Whether the less tall `part` is a piece of the digit that `other` is.

    One above the other: if they are close, and closer still where each has a digit's shape, for then they may be two
    lines. Side by side: if it is a bar, or far too small for a digit.
    """
    shared = min(part.right, other.right) - max(part.left, other.left)
    down = max(part.top - other.bottom, other.top - part.bottom)
    if shared >= OVER * min(part.width, other.width):
        both = max(part.bottom, other.bottom) - min(part.top, other.top)
        alike = not (part.flat or other.flat) and part.height > SHORT * other.height
        return down < (CLOSE_ALIKE if alike else CLOSE) * both
    distance = _distance(part, other)
    aside = abs(part.top + part.bottom - other.top - other.bottom) / 2 > ASIDE * other.height
    if part.flat and part.height < SHORT * other.height and aside:
        return distance < CLOSE_BAR * other.height
    return part.height < PIECE * other.height and distance < CLOSE * other.height and not (part.flat and not aside)


def _lines(groups: list[_Group]) -> list[list[_Group]]:
    """Groups whose middles lie between one another's top and bottom share a line; lines from the top down."""
    lines: list[list[_Group]] = []
    for group in sorted(groups, key=lambda group: -group.height):
        middle = (group.top + group.bottom) / 2
        line = next((line for line in lines if line[0].top <= middle < line[0].bottom), None)
        if line is None:
            lines.append([group])
        else:
            line.append(group)
    lines.sort(key=lambda line: line[0].top)
    return [sorted(line, key=lambda group: group.left + group.right) for line in lines]


def _cut(
    ink: np.ndarray, labels: np.ndarray, count: int, groups: list[_Group], step: int
) -> list[tuple[np.ndarray, Box]]:
    """Each group's ink without the others', with the faint ink around it."""
    owner = np.zeros(count + 1, np.int16)
    for place, group in enumerate(groups, 1):
        owner[group.parts] = place
    owners = owner[labels]
    for _ in range(2):
        owners = np.where(owners, owners, ndimage.maximum_filter(owners, 3))
    owners = np.where((owner[labels] == 0) & (labels > 0), 0, owners)  # specks
    height, width = ink.shape
    digits = []
    for place, group in enumerate(groups, 1):
        rows = slice(max(0, group.top - 2), group.bottom + 2)
        columns = slice(max(0, group.left - 2), group.right + 2)
        own = owners[rows, columns] == place
        part = ink[rows.start * step : rows.stop * step, columns.start * step : columns.stop * step]
        if step > 1:
            own = own.repeat(step, 0).repeat(step, 1)[: part.shape[0], : part.shape[1]]
        part = np.where(own, part, np.uint8(0))
        box = group.left * step, group.top * step, min(width, group.right * step), min(height, group.bottom * step)
        digits.append((_reduced(Image.fromarray(part), max(part.shape) // SIDE), box))
    return digits
