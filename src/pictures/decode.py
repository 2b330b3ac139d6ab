"""The only place that opens a picture: within limits, upright, in 8 bits, without transparency."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from src.errors import InputError
from src.pictures.file_types import FORMATS, format_of, guess

LIGHT = 170  # what is drawn on a transparent ground and is lighter than this on average is put on black
PAGE = 0.75  # share of a picture that, opaque, makes it a page and not ink on nothing
DEPTHS = (8, 10, 12, 14, 16, 24, 32)  # bits of grey levels; a picture's largest one tells which it has
EXIF = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}  # where Pillow keeps what may tell a rotation
# Limits are checked here, from a file's header; Pillow's own would be a warning besides, and a second number.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class Limits:
    """What is opened at all: bytes of the file, pixels that its header tells, formats by Pillow's names."""

    bytes: int
    pixels: int
    formats: tuple[str, ...]


FILES = Limits(1 << 29, 64_000_000, FORMATS)
REQUESTS = Limits(1 << 20, 4_000_000, FORMATS[:5])


class PictureError(InputError):
    """A file or bytes that are not taken as a picture.

    reason: empty_body, too_large, unknown_format, damaged, or missing, for a file that cannot be opened.
    """

    def __init__(self, message: str, reason: str):
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Picture:
    """An upright picture of 8 bits without transparency.

    image: mode L or RGB, at most `within` pixels on its longer side. size: width and height before it was reduced.
    notes: what a person may want to know, such as that only the first frame was read. lossy: its format leaves faint
    traces around edges.
    """

    image: Image.Image
    size: tuple[int, int]
    notes: tuple[str, ...] = ()
    lossy: bool = False

    @property
    def pixels(self) -> np.ndarray:
        """uint8 (H, W), or (H, W, 3)."""
        return np.asarray(self.image)


def decode(source: Path | bytes, limits: Limits = FILES, channels: int = 0, within: int = 0) -> Picture:
    """Read a picture from a file, or from its bytes.

    EXIF rotation is applied; a transparent ground is white, or black where the ink on it is light; grey levels of more
    than 8 bits are scaled; of several frames the first is read.
    channels: 1 for grey, 3 for RGB, 0 for whichever it is. within: reduce it by a whole factor until no side is longer,
    pixels; 0 for never.
    Raises PictureError, whose message is one line that names the file; nothing of Pillow's passes.
    """
    name = str(source) if isinstance(source, Path) else "the picture"
    fix = ": remove or replace it" if isinstance(source, Path) else f": send {', '.join(limits.formats)}"
    content = _content(source, limits, name, fix)
    kind = format_of(content)
    try:
        with Image.open(io.BytesIO(content), formats=limits.formats) as picture:
            width, height = picture.size
            if width * height > limits.pixels:
                raise PictureError(f"{name} has {width}x{height} pixels: at most {limits.pixels:,}", "too_large")
            lossy = kind == "JPEG" or (kind == "WEBP" and b"VP8L" not in content[:512])
            return _upright(picture, (width, height), channels, within, lossy)
    except PictureError:
        raise
    except UnidentifiedImageError:
        if kind in limits.formats:
            raise PictureError(f"{name} cannot be read as a picture (a damaged {kind}){fix}", "damaged") from None
        what = f"it is {kind or guess(content)}"
        raise PictureError(f"{name} cannot be read as a picture ({what}){fix}", "unknown_format") from None
    except Exception as error:  # Pillow's decoders raise some twenty kinds for files that were tampered with
        why = (str(error).splitlines() or [""])[0][:120] or type(error).__name__
        raise PictureError(f"{name} cannot be read as a picture ({why}){fix}", "damaged") from None


def _content(source: Path | bytes, limits: Limits, name: str, fix: str) -> bytes:
    content = source
    if isinstance(source, Path):
        try:
            with source.open("rb") as file:
                content = file.read(limits.bytes + 1)
        except OSError as error:
            raise PictureError(f"{name} cannot be opened ({error.strerror})", "missing") from None
    if not content:
        raise PictureError(f"{name} cannot be read as a picture (it is empty, 0 bytes){fix}", "empty_body")
    if len(content) > limits.bytes:
        raise PictureError(f"{name} is larger than {limits.bytes:,} bytes, the most that are read", "too_large")
    return content


def _upright(picture: Image.Image, size: tuple[int, int], channels: int, within: int, lossy: bool) -> Picture:
    kind = picture.format
    notes = []
    frames = _frames(picture)
    if frames:
        notes.append(frames)
    if within and kind == "JPEG" and max(size) > within:
        picture.draft(None, (within, within))  # decodes at a half, a quarter or an eighth: never below what is asked
    picture.load()
    if kind == "TIFF" and picture.size != size:  # Pillow turns these by itself
        notes.append("rotated by EXIF")
        size = picture.size
    turned = picture if EXIF.isdisjoint(picture.info) else _turned(picture)
    if turned is not picture:
        notes.append("rotated by EXIF")
        size = size if (turned.width < turned.height) == (size[0] < size[1]) else size[::-1]
    mode = turned.mode
    if mode.startswith(("I", "F")):
        turned = Image.fromarray(_eight_bits(np.asarray(turned)))
    elif turned.has_transparency_data:
        turned, note = _opaque(turned, channels)
        notes += [note] if note else []
    elif mode not in ("L", "RGB"):
        turned = turned.convert("L" if channels == 1 or mode == "1" else "RGB")
    if channels and turned.mode != ("L", "RGB")[channels // 3]:
        turned = turned.convert("L" if channels == 1 else "RGB")
    if within and max(turned.size) > within:
        turned = turned.reduce(-(-max(turned.size) // within))
    return Picture(turned, size, tuple(notes), lossy)


def _frames(picture: Image.Image) -> str | None:
    """The note for a picture of several frames. A GIF's are not counted: that is a walk through the whole file."""
    if picture.format in ("GIF", "TIFF"):
        try:
            several = picture.is_animated
        except Exception:  # what follows the first frame is damaged, which is no matter
            several = False
        picture.seek(0)
        return f"the first of several {'pages' if picture.format == 'TIFF' else 'frames'}" if several else None
    count = getattr(picture, "n_frames", 1)
    return f"the first of {count} frames" if count > 1 else None


def _turned(picture: Image.Image) -> Image.Image:
    """As its EXIF data want it to be seen; the same object where they say nothing, or nothing that can be read."""
    try:
        if picture.getexif().get(0x0112, 1) == 1:
            return picture
        return ImageOps.exif_transpose(picture)
    except Exception:  # damaged EXIF data are no reason to refuse the pixels
        return picture


def _eight_bits(levels: np.ndarray) -> np.ndarray:
    """Grey levels of any depth as uint8: whole numbers by the depth that holds them all, others by what they span."""
    if levels.dtype.kind == "f":
        levels = np.nan_to_num(levels, posinf=0, neginf=0)
        low, high = float(levels.min()), float(levels.max())
        if low < 0 or high > 255:
            levels, high = (levels - low) / max(high - low, 1e-30), 1.0
        return (levels * (255 if high <= 1 else 1)).round().astype(np.uint8)
    top = int(levels.max())
    bits = next(depth for depth in DEPTHS if top < 1 << depth)
    levels = levels.clip(0) if levels.dtype.kind == "i" else levels
    return (levels if bits == 8 else levels * (255 / ((1 << bits) - 1)) + 0.5).astype(np.uint8)


def _opaque(picture: Image.Image, channels: int) -> tuple[Image.Image, str | None]:
    """Put what is transparent on a ground, in grey (channels 1) or RGB, and say if the ground is black.

    Where most of the picture is transparent, what is drawn on it is ink: light ink is put on black, other on white.
    Where little is, the picture is a page that goes on in its own tone.
    """
    if picture.mode not in ("RGBA", "LA"):
        picture = picture.convert("RGBA")
    alpha = picture.getchannel("A")
    if alpha.tobytes() == b"\xff" * (alpha.width * alpha.height):  # nothing shows through, as on a canvas painted white
        return picture.convert("L" if channels == 1 or picture.mode == "LA" else "RGB"), None
    flat = picture.convert("L")
    step = max(1, min(alpha.size) // 128)  # a sample tells as well
    seen = np.asarray(alpha)[::step, ::step] > 63
    greys = np.asarray(flat)[::step, ::step][seen]
    mean = float(greys.mean()) if greys.size else 0.0
    page = greys.size > PAGE * seen.size
    black = mean < 128 if page else mean > LIGHT
    if channels != 1 and picture.mode == "RGBA":
        flat = picture.convert("RGB")
    ground = Image.new(flat.mode, flat.size, "black" if black else "white")
    ground.paste(flat, mask=alpha)
    return ground, "light ink on a transparent ground, put on black" if black and not page else None


def square(image: Image.Image, size: int, channels: int, enlarge: bool = True) -> np.ndarray:
    """A picture as uint8 (channels, size, size): longest side scaled to `size`, the rest its border's median.

    enlarge: without it, a picture with shorter sides than `size` stays as it is, in a square of its longer side.
    """
    size = size if enlarge else min(size, max(image.size))
    image = ImageOps.contain(image.convert("L" if channels == 1 else "RGB"), (size, size), Image.Resampling.LANCZOS)
    pixels = np.asarray(image).reshape(image.height, image.width, channels)
    height, width = pixels.shape[:2]
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    filled = np.empty((size, size, channels), np.uint8)
    filled[:] = np.median(border, axis=0).astype(np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    filled[top : top + height, left : left + width] = pixels
    return np.ascontiguousarray(filled.transpose(2, 0, 1))
