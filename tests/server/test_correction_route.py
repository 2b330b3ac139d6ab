"""POST /corrections, and the store behind it."""

import base64
import io
import json
import sqlite3
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install -e '.[serve]' brings it")

from src.data.sources.corrections import CorrectionStore, read_corrections
from src.errors import InputError
from src.server.app import open_store
from src.server.model import sample_digit
from tests.server.client import JSON, encode_image, is_error, post, to_base64


def test_corrections_are_stored_with_what_the_network_read(make_app, tmp_path):
    store = CorrectionStore(tmp_path / "feedback.sqlite")
    app = make_app(store)
    record = post(app, sample_digit()).json()["digits"][0]
    given = {"image": to_base64(sample_digit()), "box": record["box"], "answer": record["label"], "correction": "7"}
    response = post(app, json.dumps(given), "/corrections", JSON)
    assert (response.status_code, response.json()) == (201, {"id": 1})
    assert post(app, json.dumps({**given, "box": None}), "/corrections", JSON).json() == {"id": 2}
    (stored,) = read_corrections(tmp_path / "feedback.sqlite")  # twice the same picture
    assert (stored.correction, stored.prediction, stored.model) == (
        "7",
        record["label"],
        app.batcher.model.net.digest,
    )
    assert stored.networks == (app.batcher.model.described,) * 2
    assert stored.networks[0].class_names == tuple("0123456789")
    seen = post(app, sample_digit(), "/predict?look=true").json()["digits"][0]["seen"]
    assert np.array_equal(stored.image[0].numpy(), np.asarray(Image.open(io.BytesIO(base64.b64decode(seen)))))


def test_corrections_accept_no_query(make_app, tmp_path):
    app = make_app(CorrectionStore(tmp_path / "feedback.sqlite"))
    given = json.dumps({"image": to_base64(sample_digit()), "correction": "7"})
    assert is_error(post(app, given, "/corrections?box=3", JSON), 422, "invalid")
    assert post(app, given, "/corrections", JSON).status_code == 201


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"correction": "x"}, 422, "invalid"),
        ({"correction": ""}, 422, "invalid"),
        ({"correction": 7}, 422, "invalid"),
        ({"correction": "\ud800"}, 422, "invalid"),
        ({"box": [1, 2, 3, 4]}, 422, "invalid"),
        ({"box": [1, 2, 3]}, 422, "invalid"),
        ({"box": [1.5, 2, 3, 4]}, 422, "invalid"),
        ({"box": [0, 0, 10**9, 1]}, 422, "invalid"),
        ({"image": to_base64(b"seven")}, 415, "unknown_format"),
        ({"image": to_base64(encode_image(np.full((9, 9), 255, np.uint8)))}, 422, "invalid"),
        ({"file": "../../etc/passwd"}, 422, "invalid"),
    ],
)
def test_invalid_corrections_are_not_stored(app, change, status, code):
    given = {"image": to_base64(sample_digit()), "answer": "1", "correction": "7", **change}
    assert is_error(post(app, json.dumps(given), "/corrections", JSON), status, code)
    assert app.store.count() == 0


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/corrections", {"correction": "7"}, "image is missing: a picture in base64"),
        ("/corrections", {"image": "QUJD"}, "correction is missing: the name of a class"),
        ("/corrections", {"image": "QUJD", "correction": 7}, "correction: the name of a class"),
        ("/corrections", {"image": "QUJD", "correction": "7", "box": [1, "a", 2, 3]}, "box.1: [left, top, right,"),
        ("/corrections", {"image": "!", "correction": "7"}, "image: not valid base64"),
        ("/corrections", {"image": "QUJD", "correction": "7", "url": 1}, "an unknown key: 'url'"),
        ("/corrections", [], "the body must be a JSON object"),
        ("/predict", {}, "images is missing: 1 to 32 pictures in base64; for a single one give image instead"),
        ("/predict", {"images": []}, "images: 1 to 32 pictures"),
        ("/predict", {"images": ["QUJD", 7]}, "images.1: a picture must be a base64 string"),
    ],
)
def test_errors_name_the_key_and_the_accepted_values(app, path, body, message):
    response = post(app, json.dumps(body), path, JSON)
    assert is_error(response, 422, "invalid")
    assert message in response.json()["error"]["message"]


def test_a_store_that_is_not_writable_is_an_error_at_the_start(tmp_path):
    (tmp_path / "text.md").write_text("no database " * 100)
    (tmp_path / "file").touch()
    for name, table, version in (("other", "x (y)", 0), ("newer", "x (y)", 7), ("same", "corrections (id)", 1)):
        with closing(sqlite3.connect(tmp_path / name)) as connection:
            connection.execute(f"CREATE TABLE {table}")
            connection.execute(f"PRAGMA user_version={version}")
    for name in ("text.md", "other", "newer", "same", "file/below.sqlite", "/proc/x.sqlite"):
        with pytest.raises(InputError, match=r"feedback=.*cannot take corrections \(.*feedback=null") as caught:
            open_store(str(tmp_path / name))
        assert "\n" not in str(caught.value)
    assert (tmp_path / "text.md").read_text() == "no database " * 100
    store = open_store(str(tmp_path))
    assert store.path == tmp_path / "feedback.sqlite" and store.count() == 0
    image = np.zeros((1, 2, 2), np.uint8)
    assert store.add(image, b"", None, "7") == 1
    store.close()
    assert open_store(str(tmp_path / "feedback.sqlite")).count() == 1


def test_corrections_are_rejected_without_a_store_and_by_a_full_one(make_app, tmp_path):
    given = json.dumps({"image": to_base64(sample_digit()), "correction": "7"})
    assert is_error(post(make_app(), given, "/corrections", JSON), 404, "corrections_off")
    full = make_app(CorrectionStore(tmp_path / "f.sqlite", rows=1))
    assert post(full, given, "/corrections", JSON).status_code == 201
    assert is_error(post(full, given, "/corrections", JSON), 429, "full")
    (tmp_path / "g.sqlite").write_text("became something else " * 100)
    broken = make_app(CorrectionStore(tmp_path / "g.sqlite"))
    assert is_error(post(broken, given, "/corrections", JSON), 503, "not_kept")
