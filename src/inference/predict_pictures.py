"""Many pictures through a network: opened by threads, classified in batches; a bad one is an answer of its own."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from glob import has_magic
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from src.errors import require
from src.inference.answer import LOW_CONFIDENCE, answer
from src.pictures.decode import FILES, Limits, PictureError
from src.pictures.file_types import SUFFIXES, format_of
from src.pictures.inputs import find_pictures
from src.pictures.reader import Reader, SegmentedPicture

CHUNK = 1024  # digits that a network is asked about at once
Named = tuple[str, Path | bytes]
COLUMNS = ("file", "prediction", "probability", "low_confidence", "reason", "error")
COLUMNS += ("digits", "boxes", "top", "inverted", "width", "height", "notes")


def name_pictures(words: Sequence[str], stdin: Callable[[], bytes]) -> list[Named]:
    """What the words of `images` stand for: each picture with its name; a name without a file stays, to be reported.

    - stands for standard input: one picture, if it begins as one (or as some other kind of file), else file names or
    patterns, one a line. Raises InputError if there is nothing at all.
    """
    found: dict[str, Path | bytes] = {}
    for word in words:
        if word != "-":
            found |= {str(path): path for path in find_pictures(word, missing=True)}
            continue
        content = stdin()
        require(bool(content), "images=-: standard input is empty: give a picture, or file names, one a line")
        lines = _lines(content)
        if lines is None:
            found["-"] = content
        else:
            found |= {str(path): path for line in lines for path in find_pictures(line, missing=True)}
    require(bool(found), "images=-: standard input has only empty lines")
    return list(found.items())


def _lines(content: bytes) -> list[str] | None:
    """The names in it; None if it is a file's content."""
    plain_picture = format_of(content) == "PPM" and content[2:3].isspace()  # may be all text
    if plain_picture or b"\0" in content or content.lstrip()[:1] in (b"<", b"%", b"{"):
        return None
    try:
        return [line for line in content.decode().splitlines() if line.strip()]
    except UnicodeDecodeError:
        return None


def answer_pictures(
    named: Sequence[Named],
    net: nn.Module,
    reader: Reader,
    *,
    top_k: int = 3,
    threshold: float = LOW_CONFIDENCE,
    limits: Limits = FILES,
    batch_size: int = 256,
    threads: int = 1,
    device: str = "cpu",
) -> Iterator[list[dict]]:
    """The answers of `src.inference.answer.answer` for a batch of pictures after the other, each with its "file".

    In place of a picture that cannot be taken: {"file", "error": {"code": the reason, "message": one line}}.
    While a batch is classified the next one is opened, by so many threads.
    """
    net = net.to(device).eval()
    pool = ThreadPoolExecutor(threads)

    def opened(source: Path | bytes) -> SegmentedPicture | PictureError:
        try:
            _check_place(source)
            return reader.page(source, limits)
        except PictureError as error:
            return error

    def begin(start: int) -> list[Future]:
        return [pool.submit(opened, source) for _, source in named[start : start + batch_size]]

    try:
        coming = begin(0)
        for start in range(0, len(named), batch_size):
            here, coming = coming, begin(start + batch_size)
            pages = [future.result() for future in here]
            good = iter(
                _classify([page for page in pages if isinstance(page, SegmentedPicture)], net, reader, top_k, threshold)
            )
            yield [
                {"file": name, **(next(good) if isinstance(page, SegmentedPicture) else _error(page))}
                for (name, _), page in zip(named[start : start + batch_size], pages, strict=True)
            ]
    finally:
        pool.shutdown(cancel_futures=True)


def _classify(
    pages: list[SegmentedPicture], net: nn.Module, reader: Reader, top_k: int, threshold: float
) -> list[dict]:
    readings = reader.read(pages)
    images = torch.from_numpy(np.concatenate([reading.images for reading in readings] or [np.empty((0, 1))]))
    probs = torch.cat([predict_probs(net, part) for part in images.split(CHUNK)]) if len(images) else torch.empty(0, 1)
    return answer(readings, probs, net.info, top_k, threshold)


@torch.inference_mode()
def predict_probs(net: nn.Module, images: Tensor) -> Tensor:
    """Calibrated probabilities (B, K) on the CPU; of a network of a number, that number in its unit (B, 1)."""
    device = next((weight.device for weight in net.parameters()), torch.device("cpu"))
    images = images.to(device)
    return net.probs(images).float().cpu()


def _check_place(source: Path | bytes) -> None:
    """Raise PictureError for a folder or a pattern, which `find_pictures` leaves where it found nothing."""
    if isinstance(source, Path) and source.is_dir():
        raise PictureError(f"{source} is a folder that holds no pictures ({', '.join(sorted(SUFFIXES))})", "missing")
    if isinstance(source, Path) and has_magic(str(source)) and not source.exists():
        raise PictureError(f"{source} matches no file", "missing")


def _error(error: PictureError) -> dict:
    return {"error": {"code": error.reason, "message": str(error)}}


def as_json(answers: Sequence[dict]) -> str:
    """A list of one line per picture."""
    return "[\n" + ",\n".join(json.dumps(said, ensure_ascii=False) for said in answers) + "\n]"


def as_csv(answers: Sequence[dict]) -> str:
    """A head and a row per picture; top lists each digit's likeliest classes, digits apart by a semicolon."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for said in answers:
        rows.writerow(_row(said))
    return text.getvalue().rstrip("\n")


def _row(said: dict) -> list:
    if "error" in said:
        return [said["file"], "", "", "", "", said["error"]["code"], *[""] * 6, said["error"]["message"]]
    digits = said["digits"]
    tops = [" ".join(f"{top['label']}:{top['probability']:.4f}" for top in digit.get("top", ())) for digit in digits]
    boxes = [" ".join(map(str, digit["box"])) for digit in digits]
    return [
        *(said["file"], said["prediction"], said["probability"], said["low_confidence"], said["reason"], ""),
        *(len(digits), "; ".join(boxes), "; ".join(tops), said["inverted"], *said["size"], "; ".join(said["notes"])),
    ]


def as_table(answers: Sequence[dict]) -> str:
    """For a terminal: a line per picture, probabilities in per cent; the other classes of a single digit follow."""
    rows = [("file", "answer", "", "")]
    for said in answers:
        if "error" in said:
            why = said["error"]["message"].removeprefix(f"{said['file']} ")
            rows.append((said["file"], "–", "", f"not read: {why}"))
            continue
        notes = ["empty: there is no ink on it"] if said["reason"] else []
        digits = said["digits"]
        if len(digits) == 1 and "top" in digits[0]:
            notes += [", ".join(f"{top['label']} {100 * top['probability']:.1f} %" for top in digits[0]["top"][1:])] * (
                len(digits[0]["top"]) > 1
            )
        elif digits and "top" in digits[0]:
            notes += ["each " + ", ".join(f"{100 * digit['probability']:.1f}" for digit in digits)]
        notes += ["unsure"] * said["low_confidence"] + list(said["notes"])
        sure = f"{100 * said['probability']:.1f} %" if said["probability"] is not None else ""
        rows.append((said["file"], said["prediction"] or "–", sure, "; ".join(notes)))
    widths = [max(len(row[place]) for row in rows) for place in range(3)]
    return "\n".join(
        f"{name:<{widths[0]}}  {said:<{widths[1]}}  {sure:>{widths[2]}}  {notes}".rstrip()
        for name, said, sure, notes in rows
    )
