"""Drawn photographs: eight shapes whose colour, place, size, slant, ground, light and noise tell nothing."""

import csv
import math
import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SHAPES = ("disc", "square", "triangle", "star", "ring", "cross", "crescent", "heart")
SIDE, SUPERSAMPLED = 64, 2
LAYOUTS = ("classes", "train and test", "three splits", "labels.csv")


def draw_mask(shape: str, side: int) -> Image.Image:
    """The shape in white on black, upright, filling most of a square."""
    mask = Image.new("L", (side, side))
    draw, middle, radius = ImageDraw.Draw(mask), side / 2, 0.46 * side
    box = (middle - radius, middle - radius, middle + radius, middle + radius)

    def polygon(corners: int, inner: float = 1.0) -> list[tuple[float, float]]:
        points = []
        for k in range(corners):
            length = radius * (inner if k % 2 else 1.0)
            angle = 2 * math.pi * k / corners - math.pi / 2
            points.append((middle + length * math.cos(angle), middle + length * math.sin(angle)))
        return points

    if shape == "disc":
        draw.ellipse(box, fill=255)
    elif shape == "square":
        inset = 0.14 * side
        draw.rectangle((inset, inset, side - inset, side - inset), fill=255)
    elif shape == "triangle":
        draw.polygon(polygon(3), fill=255)
    elif shape == "star":
        draw.polygon(polygon(10, 0.45), fill=255)
    elif shape == "ring":
        draw.ellipse(box, fill=255)
        inner = 0.5 * radius
        draw.ellipse((middle - inner, middle - inner, middle + inner, middle + inner), fill=0)
    elif shape == "cross":
        arm = 0.36 * radius
        draw.rectangle((middle - arm, box[1], middle + arm, box[3]), fill=255)
        draw.rectangle((box[0], middle - arm, box[2], middle + arm), fill=255)
    elif shape == "crescent":
        draw.ellipse(box, fill=255)
        shift = 0.5 * radius
        draw.ellipse((box[0] + shift, box[1], box[2] + shift, box[3]), fill=0)
    else:
        draw.ellipse((middle - radius, middle - 0.8 * radius, middle + 0.06 * radius, middle + 0.3 * radius), fill=255)
        draw.ellipse((middle - 0.06 * radius, middle - 0.8 * radius, middle + radius, middle + 0.3 * radius), fill=255)
        draw.polygon(
            [(middle - 0.97 * radius, middle), (middle + 0.97 * radius, middle), (middle, middle + radius)], fill=255
        )
    return mask


def draw_picture(shape: str, rng: np.random.Generator) -> Image.Image:
    """One picture of 64x64: the shape in any colour, place, size and slant on a ground of two tones, in some light."""
    side = SIDE * SUPERSAMPLED
    rows, columns = np.mgrid[:side, :side] / side
    low = rng.integers(30, 226, 3)
    high = (low + rng.integers(-60, 61, 3)).clip(0, 255)
    turn = rng.uniform(0, 2 * np.pi)
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * (columns * np.cos(turn) + rows * np.sin(turn)) * rng.uniform(0.2, 3))
    ground = low * wave[..., None] + high * (1 - wave[..., None])
    size = int(side * rng.uniform(0.4, 0.9))
    mask = draw_mask(shape, size).rotate(rng.uniform(-25, 25), Image.Resampling.BICUBIC)
    color = rng.integers(0, 256, 3)
    while np.abs(color - ground.mean((0, 1))).sum() < 120:
        color = rng.integers(0, 256, 3)
    picture = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    corner = tuple(int(rng.integers(0, side - size + 1)) for _ in range(2))
    picture.paste(Image.new("RGB", (size, size), tuple(color.tolist())), corner, mask)
    for _ in range(rng.integers(0, 2)):  # clutter
        ends = [tuple(rng.integers(0, side, 2).tolist()) for _ in range(2)]
        fill = tuple(rng.integers(0, 256, 3).tolist())
        ImageDraw.Draw(picture).line(ends, fill=fill, width=int(rng.integers(2, 6)))
    picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.5))).resize((SIDE, SIDE), Image.Resampling.BOX)
    light = rng.uniform(0.6, 1.2) + rng.normal(0, rng.uniform(0.01, 0.06), (SIDE, SIDE, 3))
    return Image.fromarray((np.asarray(picture) * light).clip(0, 255).astype(np.uint8))


def draw_folder(folder: Path, count: int, seed: int) -> Path:
    """`count` pictures in a folder per class, as many of each; returns `folder`."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        shape = SHAPES[index % len(SHAPES)]
        (folder / shape).mkdir(parents=True, exist_ok=True)
        draw_picture(shape, rng).save(folder / shape / f"{index:05}.png")
    return folder


def arrange(source: Path, folder: Path, layout: str) -> Path:
    """The pictures of class folders in another of LAYOUTS; tenths decide the splits. Returns the folder."""
    for index, path in enumerate(sorted(source.rglob("*.png"))):
        shape, tenth = path.parent.name, index % 10
        places = {
            "classes": Path(shape),
            "train and test": Path("test" if tenth < 2 else "train", shape),
            "three splits": Path("Test" if tenth < 2 else "Valid" if tenth == 2 else "Train", shape),
            "labels.csv": Path("pictures"),
        }
        (folder / places[layout]).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / places[layout] / path.name)
    if layout == "labels.csv":
        with (folder / "labels.csv").open("w", newline="") as file:
            rows = sorted((path.name, path.parent.name) for path in source.rglob("*.png"))
            csv.writer(file).writerows([("file", "label"), *((f"pictures/{name}", label) for name, label in rows)])
    return folder
