"""Every picture that is named gets a prediction or an error, in its place."""

import threading
from pathlib import Path

import pytest

from src.errors import InputError
from src.inference.predict_pictures import list_sources, predict_pictures
from src.pictures.decode import PictureError
from src.pictures.reader import Reader

READER = Reader((1, 28, 28), ink=False)


def predict(sources, predictor, reader=READER, **options) -> list[dict]:
    return [record for batch in predict_pictures(sources, predictor, reader, **options) for record in batch]


def test_every_picture_has_a_record_in_its_place(pictures, predictor):
    sources = list_sources([str(pictures), str(pictures / "none.png")], lambda: b"")
    records = predict(sources, predictor)
    assert [Path(record["file"]).name for record in records] == [
        "0.png", "1.png", "2.png", "bad.png", "empty.png", "none.png"
    ]  # fmt: skip
    assert [record.get("prediction") for record in records[:3]] == ["0", "1", "2"]
    assert [record["error"]["code"] for record in records if "error" in record] == ["unknown_format", "missing"]
    for options in ({"batch_size": 1}, {"batch_size": 2, "threads": 3}):
        assert predict(sources, predictor, **options) == records
    with_ink = predict(sources, predictor, Reader(READER.shape, ink=True))
    assert (with_ink[4]["prediction"], with_ink[4]["reason"]) == (None, "empty")
    assert predict([], predictor) == []


def test_folders_and_patterns_without_pictures_get_an_error_record(tmp_path, monkeypatch, predictor):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    records = predict(list_sources(["folder", "nothing*.png", "gone.png"], lambda: b""), predictor)
    messages = [record["error"]["message"] for record in records]
    assert messages[0].startswith("folder is a folder that holds no pictures (PNG, JPEG, ")
    assert messages[1] == "nothing*.png matches no file"
    assert "gone.png cannot be opened (No such file" in messages[2]
    assert {record["error"]["code"] for record in records} == {"missing"}


def test_closing_the_iterator_early_leaves_no_thread(pictures, predictor):
    before = threading.active_count()
    batches = predict_pictures(list_sources([str(pictures)], lambda: b""), predictor, READER, batch_size=1)
    next(batches)
    batches.close()
    assert threading.active_count() == before


def test_standard_input_is_a_picture_or_names(pictures):
    content = (pictures / "0.png").read_bytes()
    assert list_sources(["-"], lambda: content) == [("-", content)]
    lines = f"{pictures}/1.png\n\n{pictures}/[02].png\nnone.png\n".encode()
    names = [name for name, _ in list_sources(["-"], lambda: lines)]
    assert names == [f"{pictures}/1.png", f"{pictures}/0.png", f"{pictures}/2.png", "none.png"]
    assert len(list_sources(["-"], lambda: b"P1.png\nBM.png\n")) == 2
    assert list_sources(["-"], lambda: b"P1 2 1 0 1\n") == [("-", b"P1 2 1 0 1\n")]
    for other in (b"<svg></svg>", b"%PDF-1.7", b"\xff\xfe\0\1", b"a\0b"):
        ((_, source),) = list_sources(["-"], lambda other=other: other)
        with pytest.raises(PictureError):
            Reader(READER.shape, ink=True).segment(source)
    for empty in (b"", b"\n \n"):
        with pytest.raises(InputError, match="images=-: standard input"):
            list_sources(["-"], lambda empty=empty: empty)
