"""Pictures of every kind that people send, drawn from 28x28 digits, each with the expected prediction."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from tests.picture_files import encode

OddPicture = tuple[str, bytes, str]  # file name, content, expected prediction


def odd_pictures(digit: Callable[[int], np.ndarray]) -> list[OddPicture]:
    """Forty pictures, each expected to be read as a number, as "empty", or to raise a PictureError of that reason.

    digit: returns a 28x28 image, uint8, light ink on black, of a digit 0 to 9. The reasons are those of REQUEST_LIMITS.
    """
    rng = np.random.default_rng(0)

    def ink(number: int, side: int = 200, margin: int = 40) -> np.ndarray:
        """Dark on light, smoothly enlarged."""
        large = Image.fromarray(digit(number)).resize((side, side), Image.Resampling.BICUBIC)
        return 255 - np.pad(np.asarray(large), margin)

    def transparent(number: int, color: tuple[int, int, int]) -> Image.Image:
        """One color on a transparent background, as a canvas saves it."""
        picture = Image.new("RGBA", (280, 280), (*color, 0))
        picture.putalpha(Image.fromarray(255 - ink(number)))
        return picture

    def photo(number: int, noise: float) -> np.ndarray:
        """Pencil on grey paper, half of it in a shadow, out of focus."""
        rows, columns = np.mgrid[:280, :280] / 280
        light = 190 - 70 / (1 + np.exp(-12 * (columns + 0.3 * rows - 0.6))) - 20 * rows
        paper = light * (1 - 0.62 * (255 - ink(number)) / 255)
        blurred = np.asarray(Image.fromarray(paper.astype(np.uint8)).filter(ImageFilter.GaussianBlur(1.5)), float)
        return (blurred + rng.normal(0, noise, paper.shape)).clip(0, 255).astype(np.uint8)

    def exif(orientation: int) -> Image.Exif:
        data = Image.Exif()
        data[0x0112] = orientation
        return data

    def pen(number: int, filtered: ImageFilter.Filter) -> np.ndarray:
        return np.asarray(Image.fromarray(ink(number)).filter(filtered))

    corner = np.full((600, 800), 255, np.uint8)
    corner[530:590, 730:790] = ink(7, 60, 0)
    far = np.full((1800, 2000), 255, np.uint8)
    far[100:1700, 200:1800] = ink(4, 1600, 0)
    pair = np.concatenate([ink(4, 160, 20), ink(2, 200, 0)], 1)
    row = np.concatenate([ink(number, 120, 10)[:, 15:-15] for number in (1, 9, 8, 4)], 1)
    lines = np.concatenate([ink(3, 120, 20), ink(5, 120, 20)], 0)
    speckled = ink(6)
    for top, left in rng.integers(0, 276, (12, 2)):
        speckled[top : top + 3, left : left + 3] = 40
    blue = Image.merge("RGB", [Image.fromarray(ink(3))] * 2 + [Image.new("L", (280, 280), 255)])
    yellow = np.stack([np.full((280, 280), 250, np.uint8), 255 - (255 - ink(9)) // 3, ink(9)], 2)
    chalk = (40 + 0.75 * (255 - ink(8)) + rng.normal(0, 4, (280, 280))).clip(0, 255).astype(np.uint8)
    ruled = Image.fromarray(ink(5)).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    ruled.info["transparency"] = int(np.asarray(ruled)[0, 0])
    frames = [Image.fromarray(ink(number)) for number in (2, 0, 1)]
    grey_alpha = Image.merge("LA", [Image.new("L", (280, 280), 255), Image.fromarray(255 - ink(0))])
    scribble = Image.new("RGB", (300, 300), "white")
    ImageDraw.Draw(scribble).line([(150, 30), (152, 150), (149, 270)], fill="black", width=14)
    whole = encode(ink(7))
    return [
        ("white_on_black.png", encode(255 - ink(3)), "3"),
        ("black_on_white.png", encode(ink(4)), "4"),
        ("data_set.png", encode(digit(7)), "7"),
        ("tiny.png", encode(np.asarray(Image.fromarray(ink(0, 28, 2)).resize((14, 14), Image.Resampling.BOX))), "0"),
        ("clear_black_ink.png", encode(transparent(2, (0, 0, 0))), "2"),
        ("clear_white_ink.png", encode(transparent(5, (255, 255, 255))), "5"),
        ("clear_red_ink.webp", encode(transparent(6, (200, 30, 30)), "WEBP"), "6"),
        ("grey_alpha.png", encode(grey_alpha), "0"),
        ("palette_clear.gif", encode(ruled, "GIF"), "5"),
        ("sixteen_bits.png", encode(ink(8).astype(np.uint16) * 257), "8"),
        ("twelve_bits.png", encode(ink(1).astype(np.uint16) * 16), "1"),
        ("one_bit.png", encode(Image.fromarray(ink(3)).convert("1", dither=Image.Dither.NONE)), "3"),
        ("cmyk.jpg", encode(Image.fromarray(ink(9)).convert("RGB").convert("CMYK"), "JPEG"), "9"),
        ("blue_ink.bmp", encode(blue, "BMP"), "3"),
        ("brown_on_yellow.png", encode(yellow), "9"),
        ("turned_right.jpg", encode(np.rot90(ink(2)), "JPEG", exif=exif(6)), "2"),
        ("upside_down.jpg", encode(np.rot90(ink(6), 2), "JPEG", exif=exif(3)), "6"),
        ("mirrored.png", encode(ink(7)[:, ::-1], exif=exif(2)), "7"),
        ("rough.jpg", encode(ink(4), "JPEG", quality=8), "4"),
        ("small_rough.jpg", encode(ink(0, 56, 6), "JPEG", quality=20), "0"),
        ("grey_paper.png", encode(photo(2, 3)), "2"),
        ("grey_paper_noise.jpg", encode(photo(6, 8), "JPEG", quality=60), "6"),
        ("blackboard.png", encode(chalk), "8"),
        ("faint.png", encode((255 - (255 - ink(3)) // 6).astype(np.uint8)), "3"),
        ("dust.png", encode(speckled), "6"),
        ("corner.png", encode(corner), "7"),
        ("large.png", encode(far), "4"),
        ("thick_pen.png", encode(pen(0, ImageFilter.MinFilter(17))), "0"),
        ("thin_pen.png", encode(pen(2, ImageFilter.MaxFilter(9))), "2"),
        ("a_stroke.png", encode(scribble), "1"),
        ("moving.gif", encode(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100), "2"),
        ("moving.png", encode(frames[0], save_all=True, append_images=frames[1:], duration=100), "2"),
        ("two_digits.png", encode(pair), "42"),
        ("four_digits.webp", encode(row, "WEBP", quality=70), "1984"),
        ("two_lines.png", encode(lines), "35"),
        ("really_a_png.jpg", encode(ink(8)), "8"),
        ("white.png", encode(np.full((280, 280), 255, np.uint8)), "empty"),
        ("black.jpg", encode(np.zeros((280, 280), np.uint8), "JPEG"), "empty"),
        ("clear.png", encode(Image.new("RGBA", (280, 280))), "empty"),
        (
            "empty_paper.png",
            encode((170 + rng.normal(0, 6, (280, 280)) - np.arange(280) / 6).astype(np.uint8)),
            "empty",
        ),
        ("huge.png", encode(Image.new("1", (9000, 9000), 1)), "too_large"),
        ("long.png", encode(np.zeros((4, 1_000_001), np.uint8)), "too_large"),
        ("heavy.bmp", encode(np.zeros((1000, 1200), np.uint8), "BMP"), "too_large"),
        ("truncated.png", whole[: len(whole) // 2], "damaged"),
        ("truncated.jpg", encode(ink(3), "JPEG")[:900], "damaged"),
        ("head_only.gif", encode(frames[0], "GIF")[:12], "damaged"),
        ("nothing.png", b"", "empty_body"),
        ("text.png", b"seven", "unknown_format"),
        ("drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg"><text y="9">7</text></svg>', "unknown_format"),
        ("page.html", b"<!DOCTYPE html><title>7</title>", "unknown_format"),
        ("print.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "unknown_format"),
        ("scan.tiff", encode(ink(2), "TIFF"), "unknown_format"),
        ("film.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "unknown_format"),
    ]
