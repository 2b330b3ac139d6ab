"""The one decoder of pictures: within limits; upright, 8 bits, no transparency."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from src.errors import InputError
from src.files import read_regular
from src.pictures.file_types import FORMATS, describe_unsupported, sniff_format

LIGHT_INK = 170  # mean grey level above which ink on a transparent background is put on black
OPAQUE_PAGE = 0.75  # share of opaque pixels above which they are a page, not ink on nothing
BIT_DEPTHS = (8, 10, 12, 14, 16, 24, 32)  # of grey levels of a file that states none; the largest level decides
MAX_SAMPLE_VALUE = 281  # tag of TIFF
DEPTH_WHITES = (1023, 4095, 16_383)  # white of 10, 12 and 14 bits
# Keys of Pillow's info that may hold a rotation.
EXIF_KEYS = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}
# Limits are checked here, from a file's header; Pillow's own limit would add a warning and a second number.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class DecodeLimits:
    """What is accepted: bytes of the file, pixels by its header, formats by Pillow's names."""

    bytes: int
    pixels: int
    formats: tuple[str, ...]


FILE_LIMITS = DecodeLimits(1 << 29, 64_000_000, FORMATS)
REQUEST_LIMITS = DecodeLimits(1 << 20, 4_000_000, FORMATS[:5])


class PictureError(InputError):
    """A file or bytes that cannot be used as a picture.

    reason: empty_body, too_large, unknown_format, damaged; or missing, for a file that cannot be opened.
    """

    def __init__(self, message: str, reason: str):
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Picture:
    """An upright picture of 8 bits without transparency.

    image: mode L or RGB, at most `max_side` pixels on its longer side. size: width and height before it was reduced.
    notes: remarks for the user, such as that only the first frame was read. lossy: stored in a format that leaves faint
    artifacts around edges.
    """

    image: Image.Image
    size: tuple[int, int]
    notes: tuple[str, ...] = ()
    lossy: bool = False

    @property
    def pixels(self) -> np.ndarray:
        """uint8 (H, W), or (H, W, 3)."""
        return np.asarray(self.image)


def decode(
    source: Path | bytes,
    limits: DecodeLimits = FILE_LIMITS,
    channels: int = 0,
    max_side: int = 0,
    path: Path | None = None,
) -> Picture:
    """Decode a picture from a file, or from its bytes.

    Applies EXIF rotation; replaces a transparent background by white, or by black if the ink on it is light; scales
    grey levels of more than 8 bits; reads the first of several frames.
    channels: 1 for grey, 3 for RGB, 0 for whichever it is. max_side: reduce it by a whole factor until no side is
    longer, pixels; 0 for never. path: the file that bytes were read from, for errors.
    Raises PictureError, with one line that names the file; no exception of Pillow gets out.
    """
    path = source if isinstance(source, Path) else path
    name = str(path) if path else "the picture"
    fix = ": remove or replace it" if path else f": send {', '.join(limits.formats)}"
    content = _read_content(source, limits, name, fix)
    kind = sniff_format(content)
    try:
        with Image.open(io.BytesIO(content), formats=limits.formats) as picture:
            width, height = picture.size
            if width * height > limits.pixels:
                raise PictureError(f"{name} has {width}x{height} pixels: at most {limits.pixels:,}", "too_large")
            lossy = kind == "JPEG" or (kind == "WEBP" and b"VP8L" not in content[:512])
            return _normalize(picture, channels, max_side, lossy)
    except PictureError:
        raise
    except UnidentifiedImageError:
        if kind in limits.formats:
            raise PictureError(f"{name} cannot be read as a picture (a damaged {kind}){fix}", "damaged") from None
        what = f"it is {kind or describe_unsupported(content)}"
        raise PictureError(f"{name} cannot be read as a picture ({what}){fix}", "unknown_format") from None
    except Exception as error:  # Pillow's decoders raise some twenty types for corrupted files
        why = (str(error).splitlines() or [""])[0][:120] or type(error).__name__
        raise PictureError(f"{name} cannot be read as a picture ({why}){fix}", "damaged") from None


def read_file(path: Path, limits: DecodeLimits = FILE_LIMITS) -> bytes:
    """The bytes of a picture's file, one more than the limit at most. Raises PictureError if it cannot be opened."""
    try:
        return read_regular(path, limits.bytes + 1)
    except OSError as error:
        raise PictureError(f"{path} cannot be opened ({error.strerror})", "missing") from None


def _read_content(source: Path | bytes, limits: DecodeLimits, name: str, fix: str) -> bytes:
    content = read_file(source, limits) if isinstance(source, Path) else source
    if not content:
        raise PictureError(f"{name} cannot be read as a picture (it is empty, 0 bytes){fix}", "empty_body")
    if len(content) > limits.bytes:
        raise PictureError(f"{name} is larger than {limits.bytes:,} bytes, the limit", "too_large")
    return content


def _normalize(picture: Image.Image, channels: int, max_side: int, lossy: bool) -> Picture:
    size, kind = picture.size, picture.format
    notes = _frames_notes(picture)
    if max_side and kind == "JPEG" and max(size) > max_side:
        picture.draft(None, (max_side, max_side))  # decodes at 1/2, 1/4 or 1/8, never below the requested size
    picture.load()
    if kind == "TIFF" and picture.size != size:  # Pillow itself rotates these
        notes.append("rotated by EXIF")
        size = picture.size
    upright = picture if EXIF_KEYS.isdisjoint(picture.info) else _apply_orientation(picture)
    if upright is not picture:
        notes.append("rotated by EXIF")
        size = size if (upright.width < upright.height) == (size[0] < size[1]) else size[::-1]
    mode = upright.mode
    if mode.startswith(("I", "F")):
        pixels, note = _to_8_bits(np.asarray(upright), _white_level(picture))
        upright, notes = Image.fromarray(pixels), notes + ([note] if note else [])
    elif upright.has_transparency_data:
        upright, note = _flatten_alpha(upright, channels)
        notes += [note] if note else []
    elif mode not in ("L", "RGB"):
        upright = upright.convert("L" if channels == 1 or mode == "1" else "RGB")
    if channels and upright.mode != ("L", "RGB")[channels // 3]:
        upright = upright.convert("L" if channels == 1 else "RGB")
    if max_side and max(upright.size) > max_side:
        upright = upright.reduce(-(-max(upright.size) // max_side))
    return Picture(upright, size, tuple(notes), lossy)


def _frames_notes(picture: Image.Image) -> list[str]:
    """The note for a picture of several frames. A GIF's are not counted, for that reads the whole file."""
    if picture.format in ("GIF", "TIFF"):
        try:
            several = picture.is_animated  # type: ignore[attr-defined]  # both formats' classes have it
        except Exception:  # damage after the first frame does not matter
            several = False
        picture.seek(0)
        return [f"the first of several {'pages' if picture.format == 'TIFF' else 'frames'}"] * several
    count = getattr(picture, "n_frames", 1)
    return [f"the first of {count} frames"] * (count > 1)


def _apply_orientation(picture: Image.Image) -> Image.Image:
    """Rotate and mirror by the EXIF data; the same object if they ask for nothing, or cannot be read."""
    try:
        if picture.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            return picture
        return ImageOps.exif_transpose(picture)
    except Exception:  # damaged EXIF data are no reason to refuse the pixels
        return picture


def _white_level(picture: Image.Image) -> int | None:
    """The grey level that the file states as white; None of 32 bits, signed integers and floats, which state none.

    16 bits are 0 to 65,535, whatever occurs: PNG's sBIT is the depth before scaling, and Pillow scales PGM. A TIFF may
    state fewer bits, or the largest level of such a depth; another largest level is a statistic of the picture.
    """
    if not picture.mode.startswith("I;16") and picture.format != "PPM":
        return None
    tags = getattr(picture, "tag_v2", {})
    bits = min(16, *tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,)))
    largest = max(tags.get(MAX_SAMPLE_VALUE, (0,)))
    return largest if largest in DEPTH_WHITES else (1 << bits) - 1


def _to_8_bits(levels: np.ndarray, white: int | None) -> tuple[np.ndarray, str | None]:
    """Grey levels of any depth as uint8, and a note where it is guessed.

    white: the level that the file states as white. Without it, or if levels lie above it, integers are scaled by the
    smallest depth that holds them all, floats by their range.
    """
    if levels.dtype.kind == "f":
        levels = np.nan_to_num(levels, posinf=0, neginf=0)
        low, high = float(levels.min()), float(levels.max())
        white_level = 1 if high <= 1 else 255
        note = f"floats without a stated range: read as 0 to {white_level}"
        if low < 0 or high > 255:
            levels, white_level = (levels - low) / max(high - low, 1e-30), 1
            note = f"floats without a stated range: {low:.4g} is read as black, {high:.4g} as white"
        return (levels * (255 / white_level)).round().astype(np.uint8), note
    largest, guess = int(levels.max()), None
    if white is None or largest > white:
        bits = next(depth for depth in BIT_DEPTHS if largest < 1 << depth)
        white, guess = (1 << bits) - 1, f"no depth stated: grey levels up to {largest:,} are read as {bits} bits"
    levels = levels.clip(0) if levels.dtype.kind == "i" else levels
    return (levels if white == 255 else levels * (255 / white) + 0.5).astype(np.uint8), guess


def _flatten_alpha(picture: Image.Image, channels: int) -> tuple[Image.Image, str | None]:
    """Paste a transparent picture on a background, in grey (channels 1) or RGB; a note if light ink goes on black.

    If most of the picture is transparent, the opaque part is ink: light ink goes on black, other ink on white. If
    little is, the picture is a page, and the background continues its tone.
    """
    if picture.mode not in ("RGBA", "LA"):
        picture = picture.convert("RGBA")
    alpha = picture.getchannel("A")
    if alpha.tobytes() == b"\xff" * (alpha.width * alpha.height):  # fully opaque, as of a canvas painted white
        return picture.convert("L" if channels == 1 or picture.mode == "LA" else "RGB"), None
    flat = picture.convert("L")
    step = max(1, min(alpha.size) // 128)  # a sample of the pixels is enough
    opaque = np.asarray(alpha)[::step, ::step] > 63
    levels = np.asarray(flat)[::step, ::step][opaque]
    mean = float(levels.mean()) if levels.size else 0.0
    is_page = levels.size > OPAQUE_PAGE * opaque.size
    on_black = mean < 128 if is_page else mean > LIGHT_INK
    if channels != 1 and picture.mode == "RGBA":
        flat = picture.convert("RGB")
    background = Image.new(flat.mode, flat.size, "black" if on_black else "white")
    background.paste(flat, mask=alpha)
    return background, "light ink on a transparent background, put on black" if on_black and not is_page else None


def fit_square(image: Image.Image, size: int, channels: int) -> np.ndarray:
    """Scale a picture's longer side to `size` and fill up with its border's median: uint8 (channels, size, size)."""
    image, longer = image.convert("L" if channels == 1 else "RGB"), max(image.size)
    width, height = (max(1, round(side / longer * size)) for side in image.size)  # of 400x3 pixels a row is left
    image = image.resize((width, height), Image.Resampling.LANCZOS)
    pixels = np.asarray(image).reshape(height, width, channels)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    filled = np.empty((size, size, channels), np.uint8)
    filled[:] = np.median(border, axis=0).astype(np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    filled[top : top + height, left : left + width] = pixels
    return np.ascontiguousarray(filled.transpose(2, 0, 1))
