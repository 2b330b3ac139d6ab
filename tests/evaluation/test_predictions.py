"""predictions.csv: written for every image of a split, and read again."""

import csv

import pytest
import torch

from src.data.batches import BatchDataset
from src.data.datamodule import ImageData
from src.data.info import DataInfo
from src.evaluation.predictions import load_predictions, write_predictions

INFO = DataInfo((1, 2, 2), ("Käse, alt", "=1+1", "a b"), (0.5,), (0.5,))
LOGITS = torch.tensor([[4.0, 0.0, 0.0], [0.0, 1.0, 3.0], [0.0, 2.0, 0.0]])
LABELS = torch.tensor([0, 1, 2])


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def batches(files=None) -> BatchDataset:
    """The rows 4, 0 and 2 of five images."""
    indices, labels = torch.tensor([4, 0, 2]), torch.zeros(5, dtype=torch.int64)
    labels[indices] = LABELS
    return BatchDataset(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), labels, indices, files)


def test_a_row_has_the_image_its_truth_and_the_calibrated_answer(tmp_path):
    write_predictions(tmp_path / "p.csv", batches(), LOGITS, LABELS, INFO, temperature=2.0)
    first, second, third = rows(tmp_path / "p.csv")
    assert [row["index"] for row in (first, second, third)] == ["4", "0", "2"]
    assert (first["truth"], first["answer"]) == ("Käse, alt", "Käse, alt")
    assert (second["truth"], second["answer"]) == ("=1+1", "a b")
    assert float(first["probability"]) == pytest.approx(float((LOGITS[0] / 2).softmax(0)[0]), abs=1e-6)
    found = load_predictions(tmp_path / "p.csv")
    assert found.images == {"0": "=1+1", "2": "a b", "4": "Käse, alt"}
    assert found.errors.tolist() == [1, 1, 0]


def test_an_image_of_a_file_is_named_by_it_also_where_the_name_is_not_utf_8(tmp_path):
    files = ("Käse, alt/1.png", "b.png", 'a b/"q".png', "d.png", "x/\udcff\n.png")
    write_predictions(tmp_path / "p.csv", batches(files), LOGITS, LABELS, INFO)
    assert [row["file"] for row in rows(tmp_path / "p.csv")] == ["x/\\udcff\n.png", "Käse, alt/1.png", 'a b/"q".png']
    assert len(load_predictions(tmp_path / "p.csv").images) == 3


def test_a_regression_target_has_truth_and_estimate_in_its_unit(tmp_path):
    info = DataInfo((1, 2, 2), (), (0.5,), (0.5,), "angle_deg", 45.0)
    outputs, truth = torch.tensor([[0.1], [0.2], [-1.0]]), torch.tensor([0.0, 0.2, -0.8])
    write_predictions(tmp_path / "p.csv", batches(), outputs, truth, info)
    assert [(row["truth"], row["estimate"]) for row in rows(tmp_path / "p.csv")] == [
        ("0", "4.5"), ("9", "9"), ("-36", "-45")
    ]  # fmt: skip
    found = load_predictions(tmp_path / "p.csv")
    assert found.is_number and found.errors.tolist() == pytest.approx([0, 9, 4.5])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows"),
        ("index,truth,answer,probability\n", "no rows"),
        ("row,truth,answer,probability\n1,a,b,1\n", "columns are row"),
        ("index,answer\n1,a\n", "columns are index, answer"),
        ("index,truth,answer,probability\n1,a,b,1\n1,a,b,1\n", "twice"),
        ("index,truth,answer,probability\n1,a\n", "cells"),
        ("index,truth,estimate\n1,2,nan\n", "no finite number"),
    ],
)
def test_other_content_is_refused(tmp_path, text, message):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_predictions(tmp_path / "p.csv")


def test_splits_of_a_folder_know_their_files(picture_folder):
    data = ImageData("folder", root=str(picture_folder), val=0.2, classes=["ring", "cross"])
    data.setup()
    for split in (data.train_set, data.val_set, data.test_set):
        assert len(split.names) == len(split)
        truth = [data.source.class_names[label] for label in split.labels[split.indices].tolist()]
        assert [name.partition("/")[0] for name in split.names] == truth
        assert all((picture_folder / name).is_file() for name in split.names)
    assert len({*data.train_set.names, *data.val_set.names, *data.test_set.names}) == 48
    assert data.test_set.relabeled([1, 0]).names == data.test_set.names


def test_the_worst_mistakes_are_named_by_their_files():
    from src.evaluation.figures import worst_mistakes

    files = tuple(f"{'long/' * 9}{name}.png" for name in ("a", "b", "c", "d", "e$"))
    images = torch.zeros(5, 1, 2, 2, dtype=torch.uint8)
    for named, expected in ((files, 2), (None, 0)):
        split = BatchDataset(images, torch.zeros(5, dtype=torch.int64), torch.tensor([4, 0, 2]), named)
        figure = worst_mistakes(split, LABELS, LOGITS, ("x", "y", "z"))
        texts = [text.get_text() for axes in figure.axes for text in axes.texts]
        assert len(texts) == expected and all(text.startswith("…") and text.endswith(".png") for text in texts)
