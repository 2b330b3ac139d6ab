"""File formats by their magic numbers."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # the formats that are read, by Pillow's names
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
MAGIC = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"BM": "BMP",
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    **{b"P%d" % kind: "PPM" for kind in range(1, 7)},
}
UNSUPPORTED = {b"%!PS": "PostScript", b"\xc5\xd0\xd3\xc6": "PostScript", b"%PDF": "PDF", b"\0\0\1\0": "an icon"}
UNSUPPORTED |= {b"PK": "a zip archive", b"\x1f\x8b": "packed by gzip", b"8BPS": "PSD", b"SIMPLE": "FITS"}


def sniff_format(content: bytes) -> str | None:
    """The format by its first bytes, as Pillow names it; None if it is not one of FORMATS."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    return next((name for magic, name in MAGIC.items() if content.startswith(magic)), None)


def describe_unsupported(content: bytes) -> str:
    """A guess, in words, at what a file of none of FORMATS is."""
    for magic, name in UNSUPPORTED.items():
        if content.startswith(magic):
            return name
    if content[4:8] == b"ftyp":
        return "HEIC, AVIF or a film"
    start = content[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for tag, name in ((b"<svg", "SVG"), (b"<!doctype html", "HTML"), (b"<html", "HTML")):
        if tag in start:
            return name
    if b"\0" not in start and start.isascii():
        return "text"
    return "of no known format"
