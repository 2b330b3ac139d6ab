"""Records of predictions: made, and formatted as JSON, CSV and a table."""

import csv
import io
import json

import numpy as np
import torch
from PIL import Image
from torch import nn

from src.data.info import DataInfo
from src.inference.predict_pictures import list_sources, predict_pictures
from src.inference.records import (
    CSV_COLUMNS,
    prediction_records,
    records_to_csv,
    records_to_json,
    records_to_table,
)
from tests.picture_files import READER, draw_bar, encode, read, scanned_digits

DIGITS = DataInfo((1, 28, 28), tuple("0123456789"), (0.1307,), (0.3081,))


def test_records_are_plain_values_in_the_order_of_the_pictures():
    scans = scanned_digits()
    row = np.concatenate([np.pad(scans[index], 6) for index in (0, 1)], 1)
    inputs = read(encode(row), encode(np.zeros((30, 30), np.uint8)), encode(255 - scans[4]))
    probs = np.full((3, 10), 0.01)
    probs[[0, 1, 2], [4, 2, 7]] = 0.91, 0.7, 0.91
    both, empty, last = prediction_records(inputs, torch.from_numpy(probs), DIGITS, top_k=2)
    assert (both["prediction"], both["probability"], both["low_confidence"]) == ("42", 0.7, True)
    assert [digit["label"] for digit in both["digits"]] == ["4", "2"]
    assert both["digits"][0]["top"] == [{"label": "4", "probability": 0.91}, {"label": "0", "probability": 0.01}]
    assert (empty["prediction"], empty["probability"], empty["reason"], empty["digits"]) == (None, None, "empty", [])
    assert (last["prediction"], last["inverted"], last["low_confidence"], last["size"]) == ("7", True, False, [28, 28])
    names = DataInfo((1, 28, 28), ("coat", "bag"), (0.1,), (0.3,))
    assert prediction_records(inputs[:1], np.array([[0.9, 0.1], [0.2, 0.8]]), names)[0]["prediction"] == "coat bag"
    angle = DataInfo((1, 28, 28), (), (0.1,), (0.3,), "angle_deg", 45.0)
    (record,) = prediction_records(inputs[2:], np.array([[12.34]]), angle)
    assert (record["prediction"], record["digits"][0]["value"]) == ("12.3", 12.34)


def test_json_csv_and_table_show_the_same_predictions(pictures, predictor):
    two = np.concatenate([np.pad(draw_bar(row), 6) for row in (0, 2)], 1)
    Image.fromarray(two).save(pictures / "two, of them.png")
    sources = list_sources([str(pictures)], lambda: b"")
    records = [record for batch in predict_pictures(sources, predictor, READER, top_k=2) for record in batch]
    assert json.loads(records_to_json(records)) == records
    rows = list(csv.DictReader(io.StringIO(records_to_csv(records))))
    assert tuple(rows[0]) == CSV_COLUMNS
    lines = records_to_table(records).splitlines()
    assert len(lines) == len(records) + 1
    for row, record, line in zip(rows, records, lines[1:], strict=True):
        assert row["file"] == record["file"]
        assert line.startswith(record["file"])
        if "error" in record:
            assert (row["error"], row["notes"]) == (record["error"]["code"], record["error"]["message"])
            assert "not read: " in line
            continue
        assert row["prediction"] == (record["prediction"] or "")
        assert int(row["digits"]) == len(record["digits"]) == len([b for b in row["boxes"].split("; ") if b])
        assert (record["prediction"] or "empty") in line
    assert len(records[-1]["prediction"]) == len(records[-1]["digits"]) == 2


def test_a_regression_target_is_predicted_in_its_unit():
    class HalfTurn(nn.Module):
        info = DataInfo((1, 28, 28), (), (0.1,), (0.3,), "angle_deg", 45.0)

        def probs(self, images):
            return self.info.output.predictions(torch.full((len(images), 1), 0.5))

    (batch,) = predict_pictures([("a", encode(draw_bar(1)))], HalfTurn(), READER)
    (record,) = batch
    assert (record["prediction"], record["digits"][0]["value"]) == ("22.5", 22.5)
    assert "22.5" in records_to_table([record])
    assert "22.5" in records_to_csv([record])
