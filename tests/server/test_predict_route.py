"""POST /predict: one picture or several, in a body or in JSON; what is rejected."""

import base64
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install -e '.[serve]' brings it")

from src.server.model import ServedModel, sample_digit
from tests.server.client import DIGITS, JSON, PNG, encode_image, is_error, post, send_all, to_base64, write_network


def test_a_picture_is_classified(app, model):
    response = post(app, sample_digit(), "/predict?top_k=4")
    body = response.json()
    assert response.status_code == 200
    assert len(body["digits"]) == 1 and len(body["digits"][0]["top"]) == 4
    assert body["prediction"] in DIGITS and body["inverted"] and body["size"] == [280, 280]
    assert body["model"] == {"sha256": model.net.digest, "classes": list(DIGITS)}
    assert body["request_id"] == response.headers["x-request-id"]
    assert len(post(app, sample_digit()).json()["digits"][0]["top"]) == 3


def test_predictions_are_those_of_the_network(app, model):
    body = post(app, sample_digit(), "/predict?top_k=10&look=true").json()
    (digit,) = body["digits"]
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(digit["seen"]))))
    with torch.inference_mode():
        probs = model.net.probs(torch.from_numpy(seen.copy())[None, None])[0]
    assert digit["label"] == DIGITS[int(probs.argmax())]
    for entry in digit["top"]:
        assert entry["probability"] == pytest.approx(float(probs[DIGITS.index(entry["label"])]), abs=1e-5)
    looked = np.array(digit["looked"])
    assert looked.shape == (28, 28) and looked.min() >= 0 and looked.max() == 1


def test_a_network_with_test_time_augmentation_is_explained_by_one_view(make_app, tmp_path):
    app = make_app(model=ServedModel(write_network(tmp_path / "views.ckpt", views=5)))
    response = post(app, sample_digit(), "/predict?look=true")
    assert response.status_code == 200
    assert np.array(response.json()["digits"][0]["looked"]).shape == (28, 28)
    assert app.batcher.model.net.views == 5


def test_requests_of_one_batch_get_the_predictions_of_single_requests(app):
    """Whatever their options: top_k, look."""
    rng = np.random.default_rng(1)
    pictures = [sample_digit()] + [
        encode_image(np.pad(rng.integers(0, 2, (12, 8), dtype=np.uint8) * 255, 30).repeat(2, 0)) for _ in range(20)
    ]
    paths = [f"/predict?top_k={1 + index % 10}&look={'true' if index % 4 == 0 else 'false'}" for index in range(21)]
    alone = [post(app, picture, path).json() for picture, path in zip(pictures, paths, strict=True)]
    requests = [("POST", path, {"content": c, "headers": PNG}) for c, path in zip(pictures, paths, strict=True)]
    for one, response in zip(alone, send_all(app, *requests), strict=True):
        record = response.json()
        assert response.status_code == 200
        for key in ("prediction", "notes", "size"):
            assert record[key] == one[key]
        assert [d["box"] for d in record["digits"]] == [d["box"] for d in one["digits"]]
        assert [len(d["top"]) for d in record["digits"]] == [len(d["top"]) for d in one["digits"]]
        assert ["looked" in d for d in record["digits"]] == ["looked" in d for d in one["digits"]]


def test_requests_of_one_batch_have_their_own_top_k(make_app):
    app = make_app()
    wanted = [1, 5, 3, 10, 2] * 3
    sent = [("POST", f"/predict?top_k={count}", {"content": sample_digit(), "headers": PNG}) for count in wanted]
    responses = send_all(app, *sent)
    assert [len(response.json()["digits"][0]["top"]) for response in responses] == wanted
    assert len({json.dumps(response.json()["digits"][0]["top"][0]) for response in responses}) == 1
    assert app.metrics.registry.get_sample_value("serve_batch_pictures_count") < len(wanted) / 2  # read together


def test_json_holds_one_picture_or_several(app):
    one = post(app, json.dumps({"image": to_base64(sample_digit())}), headers=JSON).json()
    assert one["prediction"] == post(app, sample_digit()).json()["prediction"]
    pictures = [sample_digit(), b"no picture", encode_image(np.full((9, 9), 255, np.uint8))]
    response = post(app, json.dumps({"images": [to_base64(c) for c in pictures]}), headers=JSON)
    body = response.json()
    assert response.status_code == 200 and sorted(body) == ["answers", "model", "request_id"]
    good, bad, empty = body["answers"]
    assert good["prediction"] == one["prediction"]
    assert bad["error"]["code"] == "unknown_format" and bad["error"]["request_id"] == body["request_id"]
    assert (empty["prediction"], empty["reason"], empty["digits"]) == (None, "empty", [])


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"", PNG, 422, "empty_body"),
        (b"seven", PNG, 415, "unknown_format"),
        (b"%!PS-Adobe-3.0", PNG, 415, "unknown_format"),
        (sample_digit()[:300], PNG, 422, "damaged"),
        (encode_image(np.zeros((2100, 2100), np.uint8)), PNG, 413, "too_large"),
        (sample_digit(), {}, 415, "unsupported_media_type"),
        (sample_digit(), {"content-type": "text/plain"}, 415, "unsupported_media_type"),
        (sample_digit(), {"content-type": "multipart/form-data; boundary=x"}, 415, "unsupported_media_type"),
        (b"{", JSON, 400, "bad_json"),
        (b"[" * 100_000, JSON, 400, "bad_json"),
        (b"\xff\xfe", JSON, 400, "bad_json"),
        (b'{"image": NaN}', JSON, 422, "invalid"),
        (b'{"image": "!!!!"}', JSON, 422, "invalid"),
        (b'{"image": "AAA"}', JSON, 422, "invalid"),
        (b'{"image": ""}', JSON, 422, "invalid"),
        (b'{"image": 7}', JSON, 422, "invalid"),
        (b'{"images": []}', JSON, 422, "invalid"),
        (json.dumps({"images": ["QUJD"] * 33}).encode(), JSON, 422, "invalid"),
        (b'{"image": "QUJD", "url": "http://localhost"}', JSON, 422, "invalid"),
        (b"[]", JSON, 422, "invalid"),
        (b"null", JSON, 422, "invalid"),
        (b'{"image": "QUJD"}', JSON, 415, "unknown_format"),
    ],
)  # fmt: skip
def test_invalid_bodies_get_a_status_and_a_code(app, content, headers, status, code):
    assert is_error(post(app, content, headers=headers), status, code)


INVALID_QUERIES = [
    *("top_k=0", "top_k=11", "top_k=-1", "top_k=x", "top_k=", "top_k=1e1", "top_k=٣", "top_k=99999999999999"),
    *("topk=5", "top_k=2&x=1", "TOP_K=2", "top_k=2&top_k=3", "look=true&look=true", "top_k", "=", "&=&"),
    *("look=maybe", "look=", "&".join("abcdefghijklmnopqrstuvw")),
]


@pytest.mark.parametrize("query", INVALID_QUERIES)
def test_invalid_queries_get_422_and_name_the_key(app, query):
    response = post(app, sample_digit(), f"/predict?{query}")
    assert is_error(response, 422, "invalid")
    assert any(name in response.json()["error"]["message"] for name in ("top_k", "look", "20 fields"))


@pytest.mark.parametrize("size", [(400, 3), (3, 400), (1, 1), (1, 500)])
def test_pictures_as_flat_as_a_line_are_answered(app, size):
    pixels = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    assert post(app, encode_image(pixels)).status_code == 200
