"""The server: its routes in this process, with a small network; whole processes are in test_serve_process.py."""

# ruff: noqa: E402 (what may be missing is asked for first)

import asyncio
import base64
import io
import json
import random
import sqlite3
import time
from contextlib import closing
from importlib.util import find_spec

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

for needed in ("fastapi", "uvicorn", "prometheus_client", "schemathesis"):
    pytest.importorskip(needed, reason=f"{needed} is not installed: pip install -e '.[serve,dev]' brings it")

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings

from src.data.info import DataInfo
from src.data.sources.corrections import Feedback, read_corrections
from src.errors import InputError
from src.model_files.checkpoint import write_checkpoint
from src.models.lenet import LeNet
from src.models.mlp import MLP
from src.server.app import App
from src.server.correction_store import open_store
from src.server.model import ServedModel
from src.server.self_test import expected, sample
from src.server.settings import Settings, is_loopback, read_token

PNG = {"content-type": "image/png"}
JSON = {"content-type": "application/json"}
DIGITS = tuple("0123456789")


def write_net(path, model=LeNet, names=DIGITS, shape=(1, 28, 28), views=1, **more):
    """The file of an untrained network; random weights answer as quickly as trained ones."""
    torch.manual_seed(0)
    info = DataInfo(shape, names, (0.13,) * shape[0], (0.31,) * shape[0], **more)
    net = model(shape=shape, num_classes=info.num_classes)
    weights = {f"model.{key}": value for key, value in net.state_dict().items()}
    target = f"{model.__module__}.{model.__name__}"
    config = {"model": {"_target_": target}, "data": {"name": "mnist"}, "structure": [], "views": views}
    write_checkpoint({"state_dict": weights, "config": config, "facts": info.plain(), "epoch": 0}, path)
    return path


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    return ServedModel(write_net(tmp_path_factory.mktemp("net") / "lenet.ckpt"))


@pytest.fixture
def make(served):
    """Makes applications with limits of their own, and ends their threads."""
    made = []

    def make(store=None, net=None, **limits):
        made.append(App(net or served, Settings(**limits), store))
        return made[-1]

    yield make
    for app in made:
        app.close()


@pytest.fixture(scope="module")
def app(served, tmp_path_factory):
    app = App(served, Settings(), Feedback(tmp_path_factory.mktemp("store") / "feedback.sqlite"))
    yield app
    app.close()


RUNNER = asyncio.Runner()  # one loop for all, as a server has: what is late is dealt with between two calls


@pytest.fixture(scope="module", autouse=True)
def end_of_the_loop():
    yield
    RUNNER.close()


def together(app, *requests, host="localhost"):
    """The answers to requests that are sent at once, in their order, each with the seconds that it took."""

    async def one(client, request):
        start = time.perf_counter()
        answer = await client.request(*request[:2], **(request[2] if len(request) > 2 else {}))
        answer.took, answer.at = time.perf_counter() - start, time.perf_counter()
        return answer

    async def all_of_them():
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}", timeout=60) as client:
            return await asyncio.gather(*(one(client, request) for request in requests))

    return RUNNER.run(all_of_them())


def ask(app, method, path, **more):
    return together(app, (method, path, more))[0]


def post(app, content, path="/predict", headers=PNG):
    return ask(app, "POST", path, content=content, headers=headers)


def refused(answer, status, code):
    """It is an error in the one shape, with this status and code."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json"), answer.text
    body = answer.json()
    assert list(body) == ["error"] and sorted(body["error"]) == ["code", "message", "request_id"]
    assert body["error"]["code"] == code
    assert body["error"]["request_id"] == answer.headers["x-request-id"]
    message = body["error"]["message"]
    assert 0 < len(message) <= 300 and "\n" not in message and "Traceback" not in message
    return True


def saved(pixels, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def encoded(content):
    return base64.b64encode(content).decode()


def heavy():
    """A picture that takes about a tenth of a second: 4 megapixels of noise, half transparent, in few bytes."""
    rng = np.random.default_rng(0)
    return saved(rng.integers(0, 255, (40, 40, 4), dtype=np.uint8).repeat(49, 0).repeat(49, 1))


def test_a_picture_is_answered(app, served):
    answer = post(app, sample(), "/predict?top_k=4")
    body = answer.json()
    assert answer.status_code == 200
    assert len(body["digits"]) == 1 and len(body["digits"][0]["top"]) == 4
    assert body["prediction"] in DIGITS and body["inverted"] and body["size"] == [280, 280]
    assert body["model"] == {"sha256": served.net.digest, "classes": list(DIGITS)}
    assert body["request_id"] == answer.headers["x-request-id"]
    assert len(post(app, sample()).json()["digits"][0]["top"]) == 3


def test_answers_are_those_of_the_network(app, served):
    body = post(app, sample(), "/predict?top_k=10&look=true").json()
    (digit,) = body["digits"]
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(digit["seen"]))))
    with torch.inference_mode():
        probs = served.net.probs(torch.from_numpy(seen.copy())[None, None])[0]
    assert digit["label"] == DIGITS[int(probs.argmax())]
    for entry in digit["top"]:
        assert entry["probability"] == pytest.approx(float(probs[DIGITS.index(entry["label"])]), abs=1e-5)
    looked = np.array(digit["looked"])
    assert looked.shape == (28, 28) and looked.min() >= 0 and looked.max() == 1


def test_a_network_of_several_looks_shows_where_it_looks(make, tmp_path):
    app = make(net=ServedModel(write_net(tmp_path / "views.ckpt", views=5)))
    answer = post(app, sample(), "/predict?look=true")
    assert answer.status_code == 200
    assert np.array(answer.json()["digits"][0]["looked"]).shape == (28, 28)
    assert app.engine.served.net.views == 5


def test_pictures_of_one_moment_do_not_mix(app):
    """Requests that share a batch get the answer that each gets alone, look or not, whatever top_k."""
    rng = np.random.default_rng(1)
    pictures = [sample()] + [
        saved(np.pad(rng.integers(0, 2, (12, 8), dtype=np.uint8) * 255, 30).repeat(2, 0)) for _ in range(20)
    ]
    paths = [f"/predict?top_k={1 + place % 10}&look={'true' if place % 4 == 0 else 'false'}" for place in range(21)]
    alone = [post(app, picture, path).json() for picture, path in zip(pictures, paths, strict=True)]
    requests = [("POST", path, {"content": c, "headers": PNG}) for c, path in zip(pictures, paths, strict=True)]
    for one, answer in zip(alone, together(app, *requests), strict=True):
        said = answer.json()
        assert answer.status_code == 200
        for key in ("prediction", "notes", "size"):
            assert said[key] == one[key]
        assert [d["box"] for d in said["digits"]] == [d["box"] for d in one["digits"]]
        assert [len(d["top"]) for d in said["digits"]] == [len(d["top"]) for d in one["digits"]]
        assert ["looked" in d for d in said["digits"]] == ["looked" in d for d in one["digits"]]


def test_what_is_known_of_the_network(app, served):
    about = ask(app, "GET", "/model").json()
    assert about["sha256"] == served.net.digest and about["classes"] == list(DIGITS)
    assert about["engine"] == ("onnxruntime" if find_spec("onnxruntime") else "torch")
    assert (about["shape"], about["ink"], about["looks"], about["accuracy"]) == ([1, 28, 28], True, True, None)


def test_json_of_one_and_of_several(app):
    one = post(app, json.dumps({"image": encoded(sample())}), headers=JSON).json()
    assert one["prediction"] == post(app, sample()).json()["prediction"]
    pictures = [sample(), b"no picture", saved(np.full((9, 9), 255, np.uint8))]
    answer = post(app, json.dumps({"images": [encoded(c) for c in pictures]}), headers=JSON)
    body = answer.json()
    assert answer.status_code == 200 and sorted(body) == ["answers", "model", "request_id"]
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
        (sample()[:300], PNG, 422, "damaged"),
        (saved(np.zeros((2100, 2100), np.uint8)), PNG, 413, "too_large"),
        (sample(), {}, 415, "unsupported_media_type"),
        (sample(), {"content-type": "text/plain"}, 415, "unsupported_media_type"),
        (sample(), {"content-type": "multipart/form-data; boundary=x"}, 415, "unsupported_media_type"),
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
def test_bodies_that_are_refused(app, content, headers, status, code):
    assert refused(post(app, content, headers=headers), status, code)


FALSE_QUERIES = ["top_k=0", "top_k=11", "top_k=-1", "top_k=x", "top_k=", "top_k=1e1", "top_k=٣", "top_k=99999999999999"]
FALSE_QUERIES += ["topk=5", "top_k=2&x=1", "TOP_K=2", "top_k=2&top_k=3", "look=true&look=true", "top_k", "=", "&=&"]
FALSE_QUERIES += ["look=maybe", "look=", "&".join("abcdefghijklmnopqrstuvw")]


@pytest.mark.parametrize("query", FALSE_QUERIES)
def test_queries_that_are_refused(app, query):
    answer = post(app, sample(), f"/predict?{query}")
    assert refused(answer, 422, "invalid")
    assert any(name in answer.json()["error"]["message"] for name in ("top_k", "look", "20 fields"))


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
def test_every_error_has_one_shape(app, method, path, status, code):
    answer = ask(app, method, path)
    assert refused(answer, status, code)
    assert status != 405 or answer.headers["allow"]


def test_bodies_over_the_limit(make):
    app = make(body_bytes=10_000)
    assert refused(post(app, b"x" * 10_001), 413, "too_large")
    sent = 0

    async def chunks():
        nonlocal sent
        for _ in range(1000):
            sent += 1000
            yield b"x" * 1000

    for path, headers in (("/predict", PNG), ("/corrections", JSON)):
        sent = 0
        assert refused(post(app, chunks(), path, headers), 413, "too_large")
        assert sent == 11_000  # it is told while it is still sending
    assert refused(post(app, b"x" * 10_001, "/corrections", JSON), 413, "too_large")


def test_slow_bodies_end_at_the_deadline(make):
    app = make(deadline_s=0.2)

    async def slowly():
        for _ in range(100):
            yield b"x"
            await asyncio.sleep(0.05)

    for path, headers in (("/predict", PNG), ("/corrections", JSON)):
        answer = post(app, slowly(), path, headers)
        assert refused(answer, 408, "too_slow")
        assert answer.headers["connection"] == "close" and answer.took < 2


def test_more_work_than_there_is_room_for_is_refused_at_once(make):
    app = make(batch=2, waiting=30, deadline_s=60)
    sent = [("POST", "/predict", {"content": heavy(), "headers": PNG})] * 40
    beside = [("GET", path) for path in ("/healthz", "/readyz", "/metrics")]
    answers = together(app, *sent, *beside)
    kept, busy = ([a for a in answers[:40] if a.status_code == status] for status in (200, 429))
    assert (len(kept), len(busy)) == (32, 8)
    assert all(refused(answer, 429, "busy") and answer.headers["retry-after"] == "1" for answer in busy)
    assert max(answer.at for answer in busy) < min(answer.at for answer in kept)
    assert sorted(answer.took for answer in busy)[4] < 0.05
    health = answers[40:]
    assert [answer.status_code for answer in health] == [200] * 3
    assert max(answer.at for answer in health) < max(answer.at for answer in kept)
    assert app.admission.taken == 0
    assert 'serve_rejects_total{reason="busy"} 8.0' in ask(app, "GET", "/metrics").text


def test_deadlines_count_waiting(make):
    app = make(batch=2, waiting=30, deadline_s=0.3)
    sent = [("POST", "/predict", {"content": heavy(), "headers": PNG})] * 32
    answers = together(app, *sent)
    late = [answer for answer in answers if answer.status_code != 200]
    assert late and all(refused(answer, 504, "deadline") for answer in late)
    assert max(answer.took for answer in late) < 2
    until = time.monotonic() + 10
    while app.admission.taken and time.monotonic() < until:
        RUNNER.run(asyncio.sleep(0.01))
    assert post(app, sample()).status_code == 200  # what nobody waits for is not worked on


def test_a_lone_request_after_many_does_not_wait_for_them(make):
    """The loop is slow: each of its passes takes 50 ms."""
    app = make(deadline_s=1)
    assert {
        a.status_code for a in together(app, *[("POST", "/predict", {"content": sample(), "headers": PNG})] * 16)
    } == {200}

    async def alone():
        async def busy():
            while True:
                time.sleep(0.05)
                await asyncio.sleep(0)

        beside = asyncio.create_task(busy())
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answer = await client.post("/predict", content=sample(), headers=PNG)
        beside.cancel()
        return answer

    assert RUNNER.run(alone()).status_code == 200


def test_clients_that_come_back_do_not_hold_up_the_end(make):
    from src.server.lifecycle import Server

    async def end():
        server = Server(make(), load=None, ready=None)
        tasks = server.server_state.tasks
        tasks.add(asyncio.create_task(asyncio.sleep(0.3)))  # a request that is being answered

        async def refused_again():
            while True:
                tasks.add(asyncio.create_task(asyncio.sleep(0.2)))
                await asyncio.sleep(0.05)

        beside = asyncio.create_task(refused_again())
        await asyncio.sleep(0.1)
        await asyncio.wait_for(server._drain(), 5)
        beside.cancel()
        return server.should_exit

    assert RUNNER.run(end())


def test_corrections_take_no_query(make, tmp_path):
    app = make(Feedback(tmp_path / "feedback.sqlite"))
    given = json.dumps({"image": encoded(sample()), "correction": "7"})
    assert refused(post(app, given, "/corrections?box=3", JSON), 422, "invalid")
    assert post(app, given, "/corrections", JSON).status_code == 201


def test_each_request_of_a_batch_gets_what_it_asked_for(make):
    app = make()
    wanted = [1, 5, 3, 10, 2] * 3
    sent = [("POST", f"/predict?top_k={count}", {"content": sample(), "headers": PNG}) for count in wanted]
    answers = together(app, *sent)
    assert [len(answer.json()["digits"][0]["top"]) for answer in answers] == wanted
    assert len({json.dumps(answer.json()["digits"][0]["top"][0]) for answer in answers}) == 1
    assert app.metrics.registry.get_sample_value("serve_batch_pictures_count") < len(wanted) / 2  # read together


def test_corrections_are_kept(make, tmp_path):
    store = Feedback(tmp_path / "feedback.sqlite")
    app = make(store)
    said = post(app, sample()).json()["digits"][0]
    given = {"image": encoded(sample()), "box": said["box"], "answer": said["label"], "correction": "7"}
    answer = post(app, json.dumps(given), "/corrections", JSON)
    assert (answer.status_code, answer.json()) == (201, {"id": 1})
    assert post(app, json.dumps({**given, "box": None}), "/corrections", JSON).json() == {"id": 2}
    (kept,) = read_corrections(tmp_path / "feedback.sqlite")  # twice the same picture
    assert (kept.correction, kept.answer, kept.model) == ("7", said["label"], app.engine.served.net.digest)
    seen = post(app, sample(), "/predict?look=true").json()["digits"][0]["seen"]
    assert np.array_equal(kept.image[0].numpy(), np.asarray(Image.open(io.BytesIO(base64.b64decode(seen)))))


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
        ({"image": encoded(b"seven")}, 415, "unknown_format"),
        ({"image": encoded(saved(np.full((9, 9), 255, np.uint8)))}, 422, "invalid"),
        ({"file": "../../etc/passwd"}, 422, "invalid"),
    ],
)
def test_corrections_that_are_refused(app, change, status, code):
    given = {"image": encoded(sample()), "answer": "1", "correction": "7", **change}
    assert refused(post(app, json.dumps(given), "/corrections", JSON), status, code)
    assert app.store.count() == 0


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/corrections", {"correction": "7"}, "image is missing: a picture in base64"),
        ("/corrections", {"image": "QUJD"}, "correction is missing: the name of a class"),
        ("/corrections", {"image": "QUJD", "correction": 7}, "correction: the name of a class"),
        ("/corrections", {"image": "QUJD", "correction": "7", "box": [1, "a", 2, 3]}, "box.1: [left, top, right,"),
        ("/corrections", {"image": "!", "correction": "7"}, "image: this is not base64"),
        ("/corrections", {"image": "QUJD", "correction": "7", "url": 1}, "a key that is not taken: 'url'"),
        ("/corrections", [], "the body is a JSON object"),
        ("/predict", {}, "images is missing: 1 to 32 pictures in base64; of a single one: image"),
        ("/predict", {"images": []}, "images: 1 to 32 pictures"),
        ("/predict", {"images": ["QUJD", 7]}, "images.1: a picture is text in base64"),
    ],
)
def test_refused_values_are_named_with_what_is_accepted(app, path, body, message):
    answer = post(app, json.dumps(body), path, JSON)
    assert refused(answer, 422, "invalid")
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([(f"x-{i}", "1") for i in range(60)], 200),
        ([("x-long", "a" * 60_000)], 200),
        ([(f"x-{i}", "1") for i in range(101)], 431),
        ([("x-long", "a" * 65_536)], 431),
        ([("a" * 40_000, "1"), ("b" * 40_000, "1")], 431),
    ],
)
def test_headers_have_an_end(app, headers, status):
    answer = ask(app, "GET", "/healthz", headers=headers)
    assert answer.status_code == status
    assert status == 200 or refused(answer, 431, "headers_too_large")


def test_stores_that_cannot_be_written_are_refused_at_the_start(tmp_path):
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


def test_corrections_can_be_off_and_full(make, tmp_path):
    given = json.dumps({"image": encoded(sample()), "correction": "7"})
    assert refused(post(make(), given, "/corrections", JSON), 404, "corrections_off")
    full = make(Feedback(tmp_path / "f.sqlite", rows=1))
    assert post(full, given, "/corrections", JSON).status_code == 201
    assert refused(post(full, given, "/corrections", JSON), 429, "full")
    (tmp_path / "g.sqlite").write_text("became something else " * 100)
    assert refused(post(make(Feedback(tmp_path / "g.sqlite")), given, "/corrections", JSON), 503, "not_kept")


def test_headers_of_every_answer(app):
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
        headers = ask(app, "GET", path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-request-id"]
        assert not any(name.startswith("access-control-") for name in headers)


def test_names_that_the_server_does_not_have(app, make):
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[::2]"):
        (answer,) = together(app, ("GET", "/healthz"), host=host)
        assert refused(answer, 400, "unknown_host")
    for host in ("localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000"):
        assert together(app, ("GET", "/healthz"), host=host)[0].status_code == 200
    assert together(make(hosts=frozenset()), ("GET", "/healthz"), host="any.example")[0].status_code == 200


def test_tokens(make):
    app = make(token="a-secret")
    closed = [("GET", "/model"), ("GET", "/metrics"), ("GET", "/docs"), ("GET", "/nothing"), ("POST", "/predict")]
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic a-secret"}, {"authorization": ""}):
        for method, path in closed:
            answer = ask(app, method, path, headers=headers)
            assert refused(answer, 401, "unauthorized") and answer.headers["www-authenticate"] == "Bearer"
    assert post(app, sample(), headers={**PNG, "authorization": "Bearer a-secret"}).status_code == 200
    assert [ask(app, "GET", path).status_code for path in ("/healthz", "/readyz", "/", "/page.js")] == [200] * 4


def test_what_a_token_and_a_loopback_are():
    assert read_token(" abc\n", "T") == "abc" and read_token(None, "T") is None
    for wrong in ("", "  ", "two words", "é"):
        with pytest.raises(InputError, match="T: a token"):
            read_token(wrong, "T")
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "localhost", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "127.evil.example", "10.0.0.1", "")))


def test_metrics_are_bounded(make):
    app = make()
    post(app, sample())
    post(app, b"x")
    for place in range(50):
        ask(app, "GET", f"/nothing/{place}")
    text = ask(app, "GET", "/metrics").text
    assert 'serve_requests_total{route="/predict",status="200"} 1.0' in text
    assert 'serve_requests_total{route="/predict",status="415"} 1.0' in text
    assert 'serve_requests_total{route="other",status="404"} 50.0' in text
    assert 'serve_rejects_total{reason="unknown_format"} 1.0' in text
    assert f'sha256="{app.engine.served.net.digest}"' in text
    assert "serve_queue_depth 0.0" in text and "serve_in_flight 0.0" in text and "nothing" not in text


def test_life_and_readiness(make):
    app = make()
    assert ask(app, "GET", "/readyz").json() == {"status": "ready"}
    app.life.unfit = "it takes a 7 for a 1"
    assert refused(ask(app, "GET", "/readyz"), 503, "not_ready")
    app.life.unfit, app.life.draining = None, True
    answer = ask(app, "GET", "/readyz")
    assert refused(answer, 503, "draining") and answer.headers["connection"] == "close"
    assert post(app, sample()).status_code == 200  # who has come is served
    app.admission.closed = True
    assert refused(post(app, sample()), 503, "draining")
    assert ask(app, "GET", "/healthz").json() == {"status": "alive"}


def test_pages_come_from_memory_and_need_nobody_else(app):
    described = ask(app, "GET", "/openapi.json").json()
    assert {"/predict", "/corrections", "/model", "/healthz", "/readyz", "/metrics"} <= set(described["paths"])
    docs = ask(app, "GET", "/docs").text
    assert all(path in docs for path in described["paths"])
    for path in ("/", "/docs"):
        text = ask(app, "GET", path).text
        assert "://" not in text and "<html" in text and 'rel="icon" href="/icon.svg"' in text
    assert ask(app, "GET", "/icon.svg").headers["content-type"] == "image/svg+xml"


def test_a_new_network_answers_from_the_next_batch_on(make, tmp_path):
    app = make()
    before = post(app, sample()).json()["model"]["sha256"]
    torch.manual_seed(1)
    other = ServedModel(write_net(tmp_path / "other.ckpt", MLP))
    app.life.unfit = "for some reason"
    app.replace(other)
    body = post(app, sample(), "/predict?look=true").json()
    assert body["model"]["sha256"] == other.net.digest != before
    assert "looked" not in body["digits"][0] and any("no convolution" in note for note in body["notes"])
    assert ask(app, "GET", "/readyz").status_code == 200
    metrics = ask(app, "GET", "/metrics").text
    assert other.net.digest in metrics and before not in metrics


def test_other_kinds_of_networks(make, tmp_path):
    """Of letters the path alone is tried; a network of a number answers with one; an RGB one takes pictures whole."""
    letters = ServedModel(write_net(tmp_path / "letters.ckpt", MLP, tuple("abc")))
    letters.check()
    app = make(net=letters)
    assert len(post(app, sample()).json()["digits"][0]["top"]) == 3
    assert refused(post(app, sample(), "/predict?top_k=4"), 422, "invalid")
    angle = ServedModel(write_net(tmp_path / "angle.ckpt", MLP, ("0",), target="angle_deg", scale=30.0))
    angle.check()
    body = post(make(net=angle), sample(), "/predict?look=true").json()
    with torch.inference_mode():
        seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(body["digits"][0]["seen"]))))
        value = float(angle.net(torch.from_numpy(seen.copy())[None, None])) * 30
    assert body["digits"][0]["value"] == pytest.approx(value, abs=1e-3)
    colour = ServedModel(write_net(tmp_path / "colour.ckpt", MLP, ("cat", "dog"), (3, 16, 16)))
    colour.check()
    body = post(make(net=colour), sample(), "/predict?look=true").json()
    assert body["prediction"] in ("cat", "dog") and body["digits"][0]["box"] == [0, 0, 280, 280]
    assert Image.open(io.BytesIO(base64.b64decode(body["digits"][0]["seen"]))).size == (16, 16)


def test_the_built_in_digit(served):
    assert expected(served.info, True) == "7" and expected(served.info, False) is None
    torch.manual_seed(0)
    with torch.no_grad():
        answer = int(served.net.model(torch.zeros(1, 1, 28, 28)).argmax())
    if DIGITS[answer] != "7":  # an untrained network has one answer for all
        with pytest.raises(InputError, match="takes the built-in 7 for"):
            served.check()


def mutated(rng, content):
    """A copy with bytes flipped, cut out, repeated or put in."""
    body = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        if not body:
            break
        place, kind = rng.randrange(len(body)), rng.randrange(5)
        if kind == 0:
            body[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            body[place] = rng.choice((0, 1, 127, 128, 255))
        elif kind == 2:
            del body[place : place + rng.randint(1, 64)]
        elif kind == 3:
            body[place:place] = body[place : place + rng.randint(1, 64)]
        else:
            body[place:place] = rng.randbytes(rng.randint(1, 16))
    return bytes(body)


@pytest.mark.slow
def test_two_thousand_random_and_mutated_bodies(app):
    """No body is answered with 500 or more, and all errors have one shape."""
    rng, noise = random.Random(0), np.random.default_rng(0)
    grey = np.kron(noise.integers(0, 255, (8, 8), dtype=np.uint8), np.ones((6, 6), np.uint8))
    frames = [Image.fromarray(grey), Image.fromarray(255 - grey)]
    moving = io.BytesIO()
    frames[0].save(moving, "GIF", save_all=True, append_images=frames[1:])
    clear = io.BytesIO()
    Image.merge("RGBA", [frames[0]] * 4).save(clear, "PNG")
    pictures = [saved(grey, kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")]
    pictures += [sample(), moving.getvalue(), clear.getvalue(), saved(grey.astype(np.uint16) * 257)]
    texts = [json.dumps(value).encode() for value in (
        {"image": encoded(sample())}, {"images": [encoded(c) for c in pictures[:5]]},
        {"image": encoded(sample()), "box": [1, 2, 3, 4], "answer": "1", "correction": "7"},
    )]  # fmt: skip
    odd = [b"", b"\0", b"null", b"[" * 5000, b'{"image":' * 900, b"1e999", b'"\\ud800"', b'{"images":[null,1,{}]}']
    requests = []
    for place in range(2000):
        kind = place % 10
        if kind < 6:
            body, headers, path = mutated(rng, rng.choice(pictures)), PNG, "/predict"
        elif kind == 6:
            body, headers, path = rng.randbytes(rng.randint(0, 400)), PNG, "/predict"
        elif kind == 7:
            body, headers, path = mutated(rng, rng.choice(texts)), JSON, "/predict"
        elif kind == 8:
            body, headers, path = mutated(rng, texts[2]), JSON, "/corrections"
        else:
            body, headers, path = rng.choice(odd), JSON, rng.choice(("/predict", "/corrections"))
        query = rng.choice(("", "?look=true", "?top_k=2", "?top_k=%FF", "?look=%00&top_k=3")) if kind < 8 else ""
        requests.append(("POST", path + query, {"content": body, "headers": headers}))
    statuses = {}
    for start in range(0, 2000, 8):
        for answer in together(app, *requests[start : start + 8]):
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
            assert answer.status_code in (200, 201, 400, 413, 415, 422), answer.text
            if answer.status_code >= 400:
                assert refused(answer, answer.status_code, answer.json()["error"]["code"])
    assert sum(statuses.values()) == 2000 and len(statuses) >= 5, statuses
    assert app.admission.taken == 0


@pytest.mark.slow
def test_requests_drawn_from_the_description(app):
    """Schemathesis draws requests that fit the OpenAPI description and ones that do not; answers fit it, too.

    That what fits is accepted is not asked: no schema can say that bytes are a picture.
    """
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers={"host": "localhost"})
    checks = schemathesis.checks.CHECKS.get_all()
    left_out = ("positive_data_acceptance", "max_response_time")
    checks = [check for check in checks if check.__name__ not in left_out]
    asked = []
    for found in schema.get_all_operations():
        operation = found.ok()
        modes = [schemathesis.GenerationMode.POSITIVE]
        if operation.path in ("/predict", "/corrections"):  # of the others nothing can be asked wrongly
            modes.append(schemathesis.GenerationMode.NEGATIVE)
        for mode in modes:

            @seed(0)
            @settings(max_examples=25, deadline=None, database=None, phases=[Phase.generate],
                      suppress_health_check=list(HealthCheck))  # fmt: skip
            @given(case=operation.as_strategy(generation_mode=mode))
            def every(case):
                asked.append(case.operation.path)
                case.call_and_validate(checks=checks, headers={"host": "localhost"})

            every()
    assert set(asked) >= {"/predict", "/corrections", "/model", "/healthz", "/readyz", "/metrics"}
    assert len(asked) > 100
