"""The server as a process: startup errors, signals under load, slow and invalid clients."""

import base64
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import threading
import time
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
import torch

from src.data.sources.registry import load_dataset
from tests.commands import output_of, run, start
from tests.odd_pictures import odd_pictures
from tests.small_data import mnist_folder

pytestmark = pytest.mark.slow
pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install -e '.[serve]' brings it")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run trained on MNIST if its files are here, otherwise on the digits of scikit-learn."""
    folder, root = tmp_path_factory.mktemp("trained") / "run", mnist_folder()
    words = ["data=digits", "trainer.max_epochs=8", "model.deslant=false"]
    if root is not None:
        words = [f"data.root={root}", "data.download=false", "experiment=fast", "augment=stroke", "data.fraction=0.5",
                 "trainer.max_epochs=1"]  # fmt: skip
    done = run("src.train", *words, "trainer.accelerator=cpu", "threads=1", "logger=csv", "figures=false", "test=false",
               f"hydra.run.dir={folder}")  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def launch(trained, tmp_path):
    """Starts servers and waits until they answer: (process, port, folder). Kills those left at the end."""
    started = []

    def launch(*words, ckpt=trained):
        folder = tmp_path / f"serve{len(started)}"
        process = start("src.serve", f"ckpt={ckpt}", "port=0", f"feedback={tmp_path}/f.sqlite", *words,
                        f"hydra.run.dir={folder}")  # fmt: skip
        started.append(process)
        until, results = time.monotonic() + 90, folder / "results.json"
        while time.monotonic() < until and process.poll() is None and not results.is_file():
            time.sleep(0.05)
        assert results.is_file(), output_of(process, 5)
        address = json.loads(results.read_text())["address"]
        with urlopen(f"{address}/healthz", timeout=60) as answer:  # the port listens before there is an answer
            assert answer.status == 200
        return process, int(address.rpartition(":")[2]), folder

    yield launch
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def seven() -> bytes:
    from src.server.model import sample_digit

    return sample_digit()


def exchange(port: int, raw: bytes, seconds: float = 10) -> bytes:
    """What a bare connection receives until it is closed or `seconds` pass."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall(raw)
        parts = []
        try:
            while part := connection.recv(65536):
                parts.append(part)
        except (TimeoutError, ConnectionResetError):
            pass
        return b"".join(parts)


class Load:
    """Clients on keep-alive connections that send requests as fast as they are answered, until they get a 503 or nobody
    listens; `lost` lists the requests without a response."""

    def __init__(self, port: int, clients: int = 8):
        self.port, self.answers, self.lost = port, [], []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self._send_requests) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def _send_requests(self):
        while not self.over.is_set():
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
                try:
                    connection.connect()
                except ConnectionRefusedError:
                    return
                try:
                    status, stays = 200, True
                    while stays and not self.over.is_set():
                        status, stays = self._one(connection)
                except Exception as error:
                    self.lost.append(repr(error))
                    return
                if status == 503:  # with Retry-After
                    return

    def _one(self, connection) -> tuple[int, bool]:
        """Send one request: its status, and whether the connection stays open."""
        connection.request("POST", "/predict", seven(), {"Content-Type": "image/png"})
        answer = connection.getresponse()
        body = json.loads(answer.read())
        self.answers.append((answer.status, body, time.monotonic()))
        return answer.status, answer.status == 200 and answer.getheader("connection") != "close"

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join(30)


def children(pid: int) -> list[str]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if stat.read_text().rpartition(")")[2].split()[1] == str(pid):
                found.append(stat.parent.name)
        except OSError:
            pass
    return found


def port_is_free(port: int) -> bool:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", port))
        one.listen()
    return True


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_under_load_loses_no_request(launch, number, status):
    process, port, folder = launch()
    load = Load(port)
    time.sleep(1)
    health = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    health.connect()
    assert children(process.pid) == []
    signaled = time.monotonic()
    process.send_signal(number)
    time.sleep(0.1)
    with contextlib.closing(health):
        health.request("GET", "/readyz")
        answer = health.getresponse()
        assert (answer.status, json.loads(answer.read())["error"]["code"]) == (503, "draining")
    out, err = output_of(process, 20)
    took = time.monotonic() - signaled
    load.end()
    assert process.returncode == status, out + err
    assert "Traceback" not in out + err
    assert load.lost == []
    statuses = {code for code, _, _ in load.answers}
    assert statuses <= {200, 503} and sum(code == 200 for code, _, _ in load.answers) > 50
    assert any(code == 200 and at > signaled for code, _, at in load.answers)
    assert took < 10 and port_is_free(port)
    counted = json.loads((folder / "results.json").read_text())["requests"]
    assert counted["/predict 200"] == sum(code == 200 for code, _, _ in load.answers)
    assert json.loads((folder / "status.json").read_text())["state"] == "interrupted"


def test_many_sighups_cause_few_reloads(launch):
    process, _, folder = launch()
    for _ in range(40):
        process.send_signal(signal.SIGHUP)
        time.sleep(0.01)
    log, lines, until = folder / "serve.log", -1, time.monotonic() + 60
    while lines < (lines := log.read_text().count("SIGHUP: ")) or not lines:
        assert time.monotonic() < until
        time.sleep(3)
    assert lines <= 10  # a reload takes longer than a few signals; without the lock there were forty


def test_sighup_serves_the_new_network_and_loses_no_request(launch, trained, tmp_path):
    ckpt = tmp_path / "served.ckpt"
    shutil.copy(trained / "checkpoints/best.ckpt", ckpt)
    process, port, folder = launch(ckpt=ckpt)
    log = folder / "serve.log"

    def sent(lines: int) -> str:
        process.send_signal(signal.SIGHUP)
        until = time.monotonic() + 60
        while log.read_text().count("SIGHUP") < lines and time.monotonic() < until:
            time.sleep(0.05)
        return log.read_text().splitlines()[-1]

    load = Load(port, clients=4)
    time.sleep(0.5)
    from src.model_files.checkpoint import read_checkpoint, write_checkpoint

    content = read_checkpoint(ckpt)
    old = content.pop("digest")
    write_checkpoint({**content, "epoch": content["epoch"] + 1}, tmp_path / "new.ckpt")
    os.replace(tmp_path / "new.ckpt", ckpt)
    new = read_checkpoint(ckpt)["digest"]
    assert new[:12] in sent(1)
    time.sleep(0.5)
    marks = time.monotonic()
    weights = {key: torch.zeros_like(value) for key, value in content["state_dict"].items()}
    write_checkpoint({**content, "state_dict": weights}, ckpt)
    assert "the old network stays" in sent(2) and "built-in 7" in log.read_text()
    info = {**content["facts"], "class_names": list("abcdefghij")}
    write_checkpoint({**content, "facts": info}, ckpt)
    assert "other classes" in sent(3)
    ckpt.write_bytes(b"PK broken")
    assert "damaged" in sent(4)
    ckpt.unlink()
    assert "no such file" in sent(5)
    time.sleep(0.3)
    load.end()
    assert load.lost == [] and {code for code, _, _ in load.answers} == {200}
    digests = [body["model"]["sha256"] for _, body, _ in load.answers]
    assert set(digests) == {old, new}
    assert {body["model"]["sha256"] for _, body, at in load.answers if at > marks} == {new}
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    assert 'reloads_total{result="taken"} 1.0' in text and 'reloads_total{result="refused"} 4.0' in text
    process.send_signal(signal.SIGTERM)
    output_of(process, 20)
    assert process.returncode == 143


def test_slow_and_invalid_clients_get_errors_or_are_disconnected(launch):
    """No connection stays open for ever; what is not HTTP gets an error of the same shape."""
    process, port, _ = launch("deadline_s=1", "connections=8")
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"

    def error(raw: bytes) -> tuple[int, str]:
        first, _, body = raw.partition(b"\r\n\r\n")
        assert b"application/json" in first, raw
        return int(first.split()[1]), json.loads(body)["error"]["code"]

    assert error(exchange(port, b"nonsense\r\n\r\n")) == (400, "bad_request")
    assert error(exchange(port, head + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nabcde")) == (
        400, "bad_request")  # fmt: skip
    start_s = time.monotonic()
    assert error(exchange(port, head + b"Content-Length: 1000\r\n\r\nabc")) == (408, "too_slow")
    assert 0.9 < time.monotonic() - start_s < 3
    got = exchange(port, head + b"Content-Length: 99999999\r\n\r\nabc", 1)
    assert error(got) == (413, "too_large")
    got = exchange(port, head + b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n", 1)
    assert error(got) == (413, "too_large")
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    got = exchange(port, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 17, 1)
    assert error(got) == (413, "too_large")
    assert error(exchange(port, b"GET /healthz HTTP/1.0\r\n\r\n")) == (400, "unknown_host")
    idle = [socket.create_connection(("127.0.0.1", port), timeout=15) for _ in range(8)]
    time.sleep(0.2)
    assert error(exchange(port, b"GET /model HTTP/1.1\r\nHost: localhost\r\n\r\n")) == (429, "busy")
    time.sleep(1)
    got = exchange(port, b"GET /model HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert b" 200 OK" in got, "it replaces the connection that has been idle for the longest"
    assert idle[0].recv(1) == b""
    idle[1].sendall(b"POST /pre")
    assert all(one.recv(1) == b"" for one in idle)  # closed without a response
    for one in idle:
        one.close()
    pipelined = (head + b"Content-Length: %d\r\n\r\n" % len(seven()) + seven()) * 3
    assert exchange(port, pipelined, 2).count(b'"prediction"') == 3
    many = b"".join(b"x-%d: 1\r\n" % i for i in range(20_000))
    for more in (many, b"x-long: " + b"a" * 200_000 + b"\r\n"):
        assert error(exchange(port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + more + b"\r\n", 1)) == (
            431, "headers_too_large")  # fmt: skip
    endless = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nx-long: " + b"a" * 1_500_000
    start_s = time.monotonic()
    with contextlib.suppress(OSError):  # the server does not wait for the rest
        exchange(port, endless)
    assert time.monotonic() - start_s < 1
    process.send_signal(signal.SIGTERM)
    out, err = output_of(process, 20)
    assert process.returncode == 143 and "Traceback" not in out + err


def test_startup_errors_are_one_line_with_status_1(trained, tmp_path):
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "short").write_text("a" * 15)
    (tmp_path / "long").write_text("a" * 16)
    token, long = f"token_file={tmp_path}/short", f"token_file={tmp_path}/long"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        cases = {
            "is in use on 127.0.0.1": [f"port={port}"],
            "is open to others: set SERVE_TOKEN": ["host=0.0.0.0"],
            "port=70000: a whole number, 0 to 65,535": ["port=70000"],
            "a token is one word": ["host=0.0.0.0", f"token_file={tmp_path}/empty"],
            "a token of 15 characters can be guessed, at least 16": ["host=0.0.0.0", token],
            "host=nope.invalid: there is no such address": ["host=nope.invalid", "port=0", long],
            "host=192.0.2.1 port=0 cannot be used": ["host=192.0.2.1", "port=0", long],
            "cannot take corrections (file is not a database)": ["port=0", f"feedback={tmp_path}/short"],
            "feedback=/proc/x.sqlite cannot take corrections": ["port=0", "feedback=/proc/x.sqlite"],
            "deadline_s=0: a number of seconds, above 0, at most 600": ["deadline_s=0"],
            "waiting=0: a whole number": ["waiting=0"],
            "token does not exist": ["token=secret"],
        }
        started = {
            said: start("src.serve", f"ckpt={trained}", *words, f"hydra.run.dir={tmp_path}/{number}")
            for number, (said, words) in enumerate(cases.items())
        }
        for said, process in started.items():
            out, err = output_of(process, 60)
            assert process.returncode == 1, (said, out, err)
            assert said in err and len(err.splitlines()) == 1, (said, err)


def test_a_public_host_requires_the_token(launch, monkeypatch):
    monkeypatch.setenv("SERVE_TOKEN", "open-sesame-open-sesame")
    process, port, folder = launch("host=0.0.0.0")
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        for headers, status in (({}, 401), ({"Authorization": "Bearer open-sesame-open-sesame"}, 200)):
            connection.request("POST", "/predict", seven(), {"Content-Type": "image/png", **headers})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status
    process.send_signal(signal.SIGTERM)
    output_of(process, 20)
    written = "".join(path.read_text() for path in folder.rglob("*") if path.is_file())
    assert "open-sesame-open-sesame" not in written


def test_unusual_pictures_are_read_or_rejected(launch, mnist_root):
    """Pictures that people send: the digit they show, or the status of the error."""
    test = load_dataset("mnist", root=str(mnist_root), download=False).test()
    images, labels = test.images[:, 0].numpy(), test.labels.numpy()

    def digit(number: int) -> np.ndarray:
        """The image nearest to the mean of its class."""
        own = images[labels == number].astype(float)
        return own[np.square(own - own.mean(0)).sum((1, 2)).argmin()].astype(np.uint8)

    _, port, _ = launch()
    statuses = {"too_large": 413, "unknown_format": 415, "damaged": 422, "empty_body": 422}
    wrong, odd = [], odd_pictures(digit)
    assert len(odd) >= 40

    def ask(content: bytes, kind: str) -> tuple[int, dict]:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            connection.request("POST", "/predict", content, {"Content-Type": kind})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    for name, content, wanted in odd:
        status, body = ask(content, "application/octet-stream")
        if wanted in statuses:
            good = status == statuses[wanted] and body["error"]["code"] == wanted
        elif wanted == "empty":
            good = status == 200 and body["prediction"] is None and body["reason"] == "empty"
        else:
            good = status == 200 and body["prediction"] == wanted
        wrong += [] if good else [(name, wanted, status, body.get("prediction"), body.get("error"))]
    assert wrong == []
    encoded = [base64.b64encode(content).decode() for _, content, _ in odd[:20]]
    _, body = ask(json.dumps({"images": encoded}).encode(), "application/json")
    assert [answer["prediction"] for answer in body["answers"]] == [wanted for _, _, wanted in odd[:20]]
