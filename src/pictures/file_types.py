"""File formats by their magic numbers."""

# The formats that are read, by Pillow's names; the server takes the first five (`src.pictures.decode.REQUEST_LIMITS`).
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000", "QOI")
SUFFIXES = {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"}
SUFFIXES |= {".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc", ".qoi"}
MAGIC = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"BM": "BMP",
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"\xff\x4f\xff\x51": "JPEG2000",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG2000",
    b"qoif": "QOI",
    **{b"P%d" % kind: "PPM" for kind in range(1, 7)},
}
UNSUPPORTED = {b"%!PS": "PostScript", b"\xc5\xd0\xd3\xc6": "PostScript", b"%PDF": "PDF", b"\0\0\1\0": "an icon"}
UNSUPPORTED |= {b"PK": "a zip archive", b"\x1f\x8b": "packed by gzip", b"8BPS": "PSD", b"SIMPLE": "FITS"}


def sniff_format(content: bytes) -> str | None:
    """The format by its first bytes, as Pillow names it; None if it is not one of FORMATS."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    if content[4:8] == b"ftyp" and {b"avif", b"avis"} & set(_brands(content)):
        return "AVIF"
    return next((name for magic, name in MAGIC.items() if content.startswith(magic)), None)


def describe_unsupported(content: bytes) -> str:
    """A guess, in words, at what a file of none of FORMATS is."""
    for magic, name in UNSUPPORTED.items():
        if content.startswith(magic):
            return name
    if content[4:8] == b"ftyp":
        return "HEIC" if any(brand[:3] in (b"hei", b"hev", b"mif") for brand in _brands(content)) else "a film"
    start = content[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for tag, name in ((b"<svg", "SVG"), (b"<!doctype html", "HTML"), (b"<html", "HTML")):
        if tag in start:
            return name
    if b"\0" not in start and start.isascii():
        return "text"
    return "of no known format"


def _brands(content: bytes) -> list[bytes]:
    """The brands of a file of ISO's base media format: what it is, and what it can be read as."""
    end = min(int.from_bytes(content[:4], "big"), 128)
    return [content[start : start + 4] for start in (8, *range(16, end, 4))]
