"""The other routes, access to them, and the network that is served."""

import base64
import io
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install -e '.[serve]' brings it")

from src.errors import InputError
from src.models.mlp import MLP
from src.server.model import ServedModel, expected_label, sample_digit
from src.server.settings import is_loopback, read_token
from tests.server.client import DIGITS, PNG, is_error, post, send, send_all, write_network


def test_the_model_route_describes_the_network(app, model):
    about = send(app, "GET", "/model").json()
    assert about["sha256"] == model.net.digest and about["classes"] == list(DIGITS)
    assert about["engine"] == ("onnxruntime" if find_spec("onnxruntime") else "torch")
    assert (about["shape"], about["ink"], about["looks"], about["accuracy"]) == ([1, 28, 28], True, True, None)


@pytest.mark.parametrize(
    ("shape", "classes", "title"),
    [
        ((1, 28, 28), DIGITS, "Draw a digit"),
        ((1, 28, 28), ("o", "ki"), "Draw a picture"),
        ((3, 28, 28), ("cats", "dogs"), "Give a picture"),
    ],
)
def test_the_page_and_the_description_fit_the_network_without_a_script(make_app, tmp_path, shape, classes, title):
    net = write_network(tmp_path / "net.ckpt", MLP, tuple(classes), shape)
    app = make_app(model=ServedModel(net))
    page = send(app, "GET", "/").text
    assert f"<title>{title}</title>" in page
    assert f'<h1 id="title">{title}</h1>' in page
    assert ("as you draw" in page) == (shape[0] == 1)
    for path in ("/docs", "/openapi.json"):
        text = send(app, "GET", path).text
        assert "Classify one or several pictures" in text
        assert "Correct an answer" in text
        for word in ("Recognise", "a digit", "built-in", "least certain digit"):
            assert word not in text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/predict/", 404, "not_found"),
        ("GET", "/page/../../etc/passwd", 404, "not_found"),
        ("GET", "/predict", 405, "method_not_allowed"),
        ("OPTIONS", "/predict", 405, "method_not_allowed"),
        ("DELETE", "/model", 405, "method_not_allowed"),
        ("POST", "/", 405, "method_not_allowed"),
    ],
)
def test_unknown_routes_and_methods_are_errors_of_the_same_shape(app, method, path, status, code):
    response = send(app, method, path)
    assert is_error(response, status, code)
    assert status != 405 or response.headers["allow"]


def test_every_response_has_the_security_headers(app):
    for path in (
        "/",
        "/page.js",
        "/page.css",
        "/icon.svg",
        "/docs",
        "/openapi.json",
        "/healthz",
        "/metrics",
        "/model",
        "/nothing",
    ):
        headers = send(app, "GET", path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-request-id"]
        assert not any(name.startswith("access-control-") for name in headers)


def test_host_headers_of_other_servers_get_400(app, make_app):
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[::2]"):
        (response,) = send_all(app, ("GET", "/healthz"), host=host)
        assert is_error(response, 400, "unknown_host")
    for host in ("localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000"):
        assert send_all(app, ("GET", "/healthz"), host=host)[0].status_code == 200
    assert send_all(make_app(hosts=frozenset()), ("GET", "/healthz"), host="any.example")[0].status_code == 200


def test_requests_without_the_token_get_401(make_app):
    app = make_app(token="a-secret")
    closed = [("GET", "/model"), ("GET", "/metrics"), ("GET", "/docs"), ("GET", "/nothing"), ("POST", "/predict")]
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic a-secret"}, {"authorization": ""}):
        for method, path in closed:
            response = send(app, method, path, headers=headers)
            assert is_error(response, 401, "unauthorized") and response.headers["www-authenticate"] == "Bearer"
    assert post(app, sample_digit(), headers={**PNG, "authorization": "Bearer a-secret"}).status_code == 200
    assert [send(app, "GET", path).status_code for path in ("/healthz", "/readyz", "/", "/page.js")] == [200] * 4


def test_tokens_are_one_word_and_loopback_addresses_are_known():
    assert read_token(" abc\n", "T") == "abc" and read_token(None, "T") is None
    for wrong in ("", "  ", "two words", "é"):
        with pytest.raises(InputError, match="T: a token"):
            read_token(wrong, "T")
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "localhost", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "127.evil.example", "10.0.0.1", "")))


def test_metrics_count_requests_with_bounded_labels(make_app):
    app = make_app()
    post(app, sample_digit())
    post(app, b"x")
    for index in range(50):
        send(app, "GET", f"/nothing/{index}")
    text = send(app, "GET", "/metrics").text
    assert 'serve_requests_total{route="/predict",status="200"} 1.0' in text
    assert 'serve_requests_total{route="/predict",status="415"} 1.0' in text
    assert 'serve_requests_total{route="other",status="404"} 50.0' in text
    assert 'serve_rejects_total{reason="unknown_format"} 1.0' in text
    assert f'sha256="{app.batcher.model.net.digest}"' in text
    assert "serve_queue_depth 0.0" in text and "serve_in_flight 0.0" in text and "nothing" not in text


def test_readiness_follows_the_self_test_and_the_shutdown(make_app):
    app = make_app()
    assert send(app, "GET", "/readyz").json() == {"status": "ready"}
    app.self_test_error = "it predicts 1 for a 7"
    assert is_error(send(app, "GET", "/readyz"), 503, "not_ready")
    app.self_test_error, app.draining = None, True
    response = send(app, "GET", "/readyz")
    assert is_error(response, 503, "draining") and response.headers["connection"] == "close"
    assert post(app, sample_digit()).status_code == 200  # requests in time are answered
    app.admission.closed = True
    assert is_error(post(app, sample_digit()), 503, "draining")
    assert send(app, "GET", "/healthz").json() == {"status": "alive"}


def test_pages_load_nothing_from_other_hosts(app):
    description = send(app, "GET", "/openapi.json").json()
    assert {"/predict", "/corrections", "/model", "/healthz", "/readyz", "/metrics"} <= set(description["paths"])
    docs = send(app, "GET", "/docs").text
    assert all(path in docs for path in description["paths"])
    for path in ("/", "/docs"):
        text = send(app, "GET", path).text
        assert "://" not in text and "<html" in text and 'rel="icon" href="/icon.svg"' in text
    assert send(app, "GET", "/icon.svg").headers["content-type"] == "image/svg+xml"


def test_a_replaced_network_serves_the_next_request(make_app, tmp_path):
    app = make_app()
    before = post(app, sample_digit()).json()["model"]["sha256"]
    torch.manual_seed(1)
    other = ServedModel(write_network(tmp_path / "other.ckpt", MLP))
    app.self_test_error = "for some reason"
    app.replace_model(other)
    body = post(app, sample_digit(), "/predict?look=true").json()
    assert body["model"]["sha256"] == other.net.digest != before
    assert "looked" not in body["digits"][0] and any("no convolution" in note for note in body["notes"])
    assert send(app, "GET", "/readyz").status_code == 200
    metrics = send(app, "GET", "/metrics").text
    assert other.net.digest in metrics and before not in metrics


def test_networks_of_letters_numbers_and_colors_are_served(make_app, tmp_path):
    """Letters pass the self-test with any label; a regression network returns a number; RGB pictures stay whole."""
    letters = ServedModel(write_network(tmp_path / "letters.ckpt", MLP, tuple("abc")))
    letters.self_test()
    app = make_app(model=letters)
    assert len(post(app, sample_digit()).json()["digits"][0]["top"]) == 3
    assert is_error(post(app, sample_digit(), "/predict?top_k=4"), 422, "invalid")
    angle = ServedModel(write_network(tmp_path / "angle.ckpt", MLP, ("0",), target="angle_deg", scale=30.0))
    angle.self_test()
    body = post(make_app(model=angle), sample_digit(), "/predict?look=true").json()
    with torch.inference_mode():
        seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(body["digits"][0]["seen"]))))
        value = float(angle.net(torch.from_numpy(seen.copy())[None, None])) * 30
    assert body["digits"][0]["value"] == pytest.approx(value, abs=1e-3)
    color = ServedModel(write_network(tmp_path / "color.ckpt", MLP, ("cat", "dog"), (3, 16, 16)))
    color.self_test()
    body = post(make_app(model=color), sample_digit(), "/predict?look=true").json()
    assert body["prediction"] in ("cat", "dog") and body["digits"][0]["box"] == [0, 0, 280, 280]
    assert Image.open(io.BytesIO(base64.b64decode(body["digits"][0]["seen"]))).size == (16, 16)


def test_the_self_test_expects_a_7(model):
    assert expected_label(model.info, True) == "7" and expected_label(model.info, False) is None
    torch.manual_seed(0)
    with torch.no_grad():
        label = int(model.net.model(torch.zeros(1, 1, 28, 28)).argmax())
    if DIGITS[label] != "7":  # an untrained network gives all images one label
        with pytest.raises(InputError, match="for the built-in 7: train it longer"):
            model.self_test()
