"""What a file is, told by its first bytes."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # those that are read, by Pillow's names
MAGIC = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"BM": "BMP",
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    **{b"P%d" % kind: "PPM" for kind in range(1, 7)},
}
STRANGE = {b"%!PS": "PostScript", b"\xc5\xd0\xd3\xc6": "PostScript", b"%PDF": "PDF", b"\0\0\1\0": "an icon"}
STRANGE |= {b"PK": "a zip archive", b"\x1f\x8b": "packed by gzip", b"8BPS": "PSD", b"SIMPLE": "FITS"}


def format_of(content: bytes) -> str | None:
    """The format that the first bytes tell, by Pillow's name; None for all that is none of FORMATS."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    return next((kind for magic, kind in MAGIC.items() if content.startswith(magic)), None)


def guess(content: bytes) -> str:
    """What a file that is none of FORMATS may be, in words."""
    start = content[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for magic, kind in STRANGE.items():
        if content.startswith(magic):
            return kind
    if content[4:8] == b"ftyp":
        return "HEIC, AVIF or a film"
    for tag, kind in ((b"<svg", "SVG"), (b"<!doctype html", "HTML"), (b"<html", "HTML")):
        if tag in start:
            return kind
    if b"\0" not in start and start.isascii():
        return "text"
    return "of no known format"


SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
