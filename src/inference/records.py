"""Records of predictions: one dict of plain values per picture, the same for files, requests and tests."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from src.data.info import DataInfo
from src.pictures.reader import NetworkInput
from src.plotting import text_table

LOW_CONFIDENCE = 0.8  # probability below which a prediction is marked
CSV_COLUMNS = (
    *("file", "prediction", "probability", "low_confidence", "reason", "error"),
    *("digits", "boxes", "top", "inverted", "width", "height", "notes"),
)


def prediction_records(
    inputs: Sequence[NetworkInput],
    probs: np.ndarray | Tensor,
    info: DataInfo,
    top_k: int = 3,
    threshold: float = LOW_CONFIDENCE,
) -> list[dict]:
    """One record per picture.

    prediction: the labels of all its digits in order, joined without blanks if each is one character; None for an empty
    picture. probability: the smallest of the digits'. low_confidence: whether it is below `threshold`; this does not
    detect pictures that show no digit, for a network names a class for any image.
    probs: (N, K) on the CPU, a row per digit of all inputs in order: calibrated probabilities; for a regression target
    its value in its unit (N, 1).
    """
    probs = np.asarray(probs, dtype=np.float64)
    top = np.argsort(-probs, axis=1, kind="stable")[:, : max(1, top_k)].tolist()
    records, start = [], 0
    for one in inputs:
        rows = range(start, start + len(one.images))
        start = rows.stop
        boxes = [list(box) for box in one.boxes]
        digits: list[dict[str, Any]]
        if info.output.is_number:
            digits = [
                {"value": round(float(probs[row, 0]), 6), "box": box} for row, box in zip(rows, boxes, strict=True)
            ]
            labels, probability = [f"{digit['value']:.1f}" for digit in digits], None
        else:
            digits = [_digit_record(probs[row], top[row], info, box) for row, box in zip(rows, boxes, strict=True)]
            labels = [digit["label"] for digit in digits]
            probability = min((digit["probability"] for digit in digits), default=None)
        separator = "" if all(len(label) == 1 for label in labels) else " "
        records.append(
            {
                "prediction": separator.join(labels) if labels else None,
                "probability": probability,
                "reason": one.reason,
                "low_confidence": probability is not None and probability < threshold,
                "inverted": one.inverted,
                "notes": list(one.notes),
                "size": list(one.size),
                "digits": digits,
            }
        )
    return records


def _digit_record(probs: np.ndarray, top: list[int], info: DataInfo, box: list[int]) -> dict[str, Any]:
    classes = [{"label": info.class_names[index], "probability": round(float(probs[index]), 6)} for index in top]
    return {**classes[0], "top": classes, "box": box}


# The records below also have "file"; one of a picture that cannot be read has {"file", "error": {"code", "message"}}.


def records_to_json(records: Sequence[dict]) -> str:
    """A JSON list, one line per picture."""
    return "[\n" + ",\n".join(json.dumps(record, ensure_ascii=False) for record in records) + "\n]"


def records_to_csv(records: Sequence[dict]) -> str:
    """A header and a row per picture; `top` lists each digit's likeliest classes, digits separated by semicolons."""
    output = io.StringIO()
    writer = csv.DictWriter(output, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(_csv_row, records))
    return output.getvalue().rstrip("\n")


def _csv_row(record: dict) -> dict:
    if "error" in record:
        return {"file": record["file"], "error": record["error"]["code"], "notes": record["error"]["message"]}
    digits = record["digits"]
    tops = [" ".join(f"{one['label']}:{one['probability']:.4f}" for one in digit.get("top", ())) for digit in digits]
    boxes = [" ".join(map(str, digit["box"])) for digit in digits]
    columns = {"digits": len(digits), "boxes": "; ".join(boxes), "top": "; ".join(tops)}
    width, height = record["size"]
    return {**record, **columns, "width": width, "height": height, "notes": "; ".join(record["notes"])}


def records_to_table(records: Sequence[dict]) -> str:
    """For a terminal: a line per picture, probabilities in per cent; then the other classes of a single digit."""
    return text_table([("file", "prediction", "", ""), *map(_table_row, records)], right=(2,))


def _table_row(record: dict) -> tuple[str, str, str, str]:
    if "error" in record:
        message = record["error"]["message"].removeprefix(f"{record['file']} ")
        return record["file"], "–", "", f"not read: {message}"
    notes = ["empty: no ink found"] if record["reason"] else []
    tops = [digit["top"] for digit in record["digits"] if "top" in digit]
    if len(tops) > 1:
        notes.append("each " + ", ".join(f"{100 * top[0]['probability']:.1f}" for top in tops))
    elif tops and len(tops[0]) > 1:
        notes.append(", ".join(f"{one['label']} {100 * one['probability']:.1f} %" for one in tops[0][1:]))
    notes += ["low confidence"] * record["low_confidence"] + record["notes"]
    probability = f"{100 * record['probability']:.1f} %" if record["probability"] is not None else ""
    return record["file"], record["prediction"] or "–", probability, "; ".join(notes)
