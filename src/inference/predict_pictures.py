"""Predictions for many pictures: decoded by threads, classified in batches; an unreadable one gets an error record."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from glob import has_magic
from pathlib import Path

import torch

from src.errors import require
from src.files import system_path, utf8_name
from src.inference.model import Predictor
from src.inference.records import LOW_CONFIDENCE, prediction_records
from src.pictures.decode import FILE_LIMITS, DecodeLimits, PictureError
from src.pictures.file_types import FORMATS, sniff_format
from src.pictures.inputs import find_pictures
from src.pictures.reader import Reader, SegmentedPicture

CHUNK = 1024  # digits per call of the network
NamedSource = tuple[str, Path | bytes]


def list_sources(patterns: Sequence[str], read_stdin: Callable[[], bytes]) -> list[NamedSource]:
    """The pictures that the patterns of `images` stand for, with their names; a name without a file is kept.

    - reads standard input: one picture, or any other binary file, else file names or patterns, one a line.
    Raises InputError if standard input is empty.
    """
    sources: dict[str, Path | bytes] = {}
    for pattern in patterns:
        names: list[str] | None = [pattern]
        if pattern == "-":
            content = read_stdin()
            require(bool(content), "images=-: standard input is empty: give a picture, or file names, one a line")
            names = _file_names(content)
        if names is None:
            sources["-"] = content
        else:
            paths = find_pictures(names, missing=True)
            sources |= {utf8_name(path): path for path in paths}
    require(bool(sources), "images=-: standard input has only empty lines")
    return list(sources.items())


def _file_names(content: bytes) -> list[str] | None:
    """The lines of a list of names; None for the content of a file."""
    plain_ppm = sniff_format(content) == "PPM" and content[2:3].isspace()  # may be text throughout
    if plain_ppm or b"\0" in content or content.lstrip()[:1] in (b"<", b"%", b"{"):
        return None
    try:
        return [str(system_path(line)) for line in content.decode().splitlines() if line.strip()]
    except UnicodeDecodeError:
        return None


def predict_pictures(
    sources: Sequence[NamedSource],
    predictor: Predictor,
    reader: Reader,
    *,
    top_k: int = 3,
    threshold: float = LOW_CONFIDENCE,
    limits: DecodeLimits = FILE_LIMITS,
    batch_size: int = 256,
    threads: int = 1,
    device: str = "cpu",
) -> Iterator[list[dict]]:
    """Records of predictions (`src.inference.records`), a batch of pictures at a time, each with its "file".

    A picture that cannot be read has {"file", "error": {"code": the reason, "message": one line}} instead.
    While one batch is classified, `threads` threads decode the next.
    """
    predictor = predictor.to(device).eval()
    pool = ThreadPoolExecutor(threads)

    def decode_batch(start: int) -> list[Future]:
        batch = sources[start : start + batch_size]
        return [pool.submit(_segment, reader, source, limits) for _, source in batch]

    try:
        upcoming = decode_batch(0)
        for start in range(0, len(sources), batch_size):
            current, upcoming = upcoming, decode_batch(start + batch_size)
            pictures = [future.result() for future in current]
            inputs = reader.to_network_input([one for one in pictures if isinstance(one, SegmentedPicture)])
            images = [torch.from_numpy(one.images) for one in inputs if len(one.images)]
            probs = _predict_probs(predictor, torch.cat(images), device) if images else torch.empty(0, 1)
            records = iter(prediction_records(inputs, probs, predictor.info, top_k, threshold))
            yield [
                {"file": name, "error": {"code": one.reason, "message": str(one)}}
                if isinstance(one, PictureError)
                else {"file": name, **next(records)}
                for (name, _), one in zip(sources[start : start + batch_size], pictures, strict=True)
            ]
    finally:
        pool.shutdown(cancel_futures=True)


def _segment(reader: Reader, source: Path | bytes, limits: DecodeLimits) -> SegmentedPicture | PictureError:
    try:  # list_sources keeps folders and patterns that hold no picture
        if isinstance(source, Path) and source.is_dir():
            raise PictureError(f"{source} is a folder that holds no pictures ({', '.join(FORMATS)})", "missing")
        if isinstance(source, Path) and has_magic(str(source)) and not source.exists():
            raise PictureError(f"{source} matches no file", "missing")
        return reader.segment(source, limits)
    except PictureError as error:
        return error


@torch.inference_mode()
def _predict_probs(predictor: Predictor, images: torch.Tensor, device: str) -> torch.Tensor:
    return torch.cat([predictor.probs(chunk.to(device)).float().cpu() for chunk in images.split(CHUNK)])
