"""What is answered about pictures, in one shape for files, requests and tests."""

from collections.abc import Sequence

import numpy as np

from src.data.info import DataInfo
from src.pictures.reader import ReaderOutput

LOW_CONFIDENCE = 0.8  # an answer whose probability is below this says so


def answer(
    readings: Sequence[ReaderOutput],
    probs: np.ndarray,
    info: DataInfo,
    top_k: int = 3,
    threshold: float = LOW_CONFIDENCE,
) -> list[dict]:
    """One dict of plain values per picture.

    probs: (N, K), a row per digit of all readings, one after the other: calibrated probabilities; or, for a network of
    a number (info.target), that number in its unit (N, 1). A tensor on the CPU is taken too.
    prediction: the labels of all digits in their order, joined as a number where each is one character, else by blanks;
    None for an empty picture. probability: the smallest of the digits'. low_confidence: it is below `threshold`. It is
    no sign for pictures that show no digit at all: a network names a class for whatever it is shown.
    """
    probs = np.asarray(probs, dtype=np.float64)
    best = np.argsort(-probs, axis=1, kind="stable")[:, : max(1, top_k)].tolist()
    found, start = [], 0
    for reading in readings:
        rows = range(start, start + len(reading.images))
        start += len(reading.images)
        boxes = [list(box) for box in reading.boxes]
        if info.target:
            digits = [
                {"value": round(float(probs[row, 0]), 6), "box": box} for row, box in zip(rows, boxes, strict=True)
            ]
            said, least, low = [f"{digit['value']:.1f}" for digit in digits], None, False
        else:
            digits = [_digit(probs[row], best[row], info, box) for row, box in zip(rows, boxes, strict=True)]
            said = [digit["label"] for digit in digits]
            least = min((digit["probability"] for digit in digits), default=None)
            low = least is not None and least < threshold
        short = all(len(word) == 1 for word in said)
        found.append(
            {
                "prediction": ("" if short else " ").join(said) if said else None,
                "probability": least,
                "reason": reading.reason,
                "low_confidence": low,
                "inverted": reading.inverted,
                "notes": list(reading.notes),
                "size": list(reading.size),
                "digits": digits,
            }
        )
    return found


def _digit(probs: np.ndarray, best: list[int], info: DataInfo, box: list[int]) -> dict:
    top = [{"label": info.class_names[place], "probability": round(float(probs[place]), 6)} for place in best]
    return {**top[0], "top": top, "box": box}
