"""How fast answers come: python -m benchmarks.serve [--ckpt <run or file>] [--requests 100000] [--only network ...]

network: one image, and 256 at once, through torch as it is, compiled by torch, and ONNX Runtime in float32 and int8,
with one thread and two. They take turns within one process per number of threads. int8 is calibrated on noise: its time
does not hang on that, its answers do, and are not looked at.
server: `src.serve` and two bare handlers on the same uvicorn, at 16 keep-alive connections, taking turns; one opens the
picture with Pillow and does nothing else, one calls the project's `decode`, which also looks at limits, rotation and
transparency. The picture is what the page sends: 280x280, RGBA, PNG. The load comes from a process of its own, so that
on two cores three processes want to run. "cpu" is what the server's process spent per request, and hangs less on what
else the machine does.
memory: resident set of the server, before and after so many requests, pictures of many kinds and errors among them.
Without --ckpt an untrained lenet is measured: weights do not change the time.
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.load import post
from src.cli.config import ROOT
from src.model_files.locate import find_checkpoint

CONNECTIONS, BATCH, IMAGES, TIMES = 16, 256, 200, 10
REST_S = 0.05  # torch's threads look for more work for some milliseconds, on a core that the next engine wants


def untrained(path: Path) -> Path:
    """The file of a lenet with random weights."""
    from src.data.info import DataInfo
    from src.model_files.checkpoint import write_checkpoint
    from src.models.lenet import LeNet

    info = DataInfo((1, 28, 28), tuple("0123456789"), (0.1307,), (0.3081,))
    weights = {f"model.{key}": value for key, value in LeNet(info.shape, 10).state_dict().items()}
    config = {"model": {"_target_": "src.models.lenet.LeNet"}, "data": {"name": "mnist"}, "structure": []}
    write_checkpoint({"state_dict": weights, "config": config, "facts": info.to_dict(), "epoch": 0}, path)
    return path


def canvas() -> bytes:
    """A 7 as the page sends it."""
    large = Image.new("RGB", (1120, 1120), "white")
    ImageDraw.Draw(large).line([(300, 250), (800, 250), (450, 950)], fill="black", width=90, joint="curve")
    file = io.BytesIO()
    large.resize((280, 280), Image.Resampling.LANCZOS).convert("RGBA").save(file, "PNG")
    return file.getvalue()


def network(path: Path, threads: int, rounds: int) -> dict:
    """Milliseconds of one image and images per second of 256, by engine. In this process, with so many threads."""
    import torch

    from src.cli.process import tune_process
    from src.model_files.load import load_predictor
    from src.model_files.onnx import onnx_bytes
    from src.model_files.onnxruntime import Runner
    from src.model_files.quantize import quantize
    from src.model_files.tracing import output_names

    tune_process()
    torch.set_num_threads(threads)
    net = load_predictor(path)
    images = np.random.default_rng(0).integers(0, 256, (BATCH, *net.info.shape), dtype=np.uint8)

    def eager(given: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return net.probs(torch.from_numpy(given)).numpy()

    def session(content: bytes) -> Callable:
        return partial(Runner(content, threads), output_names(net.info)[0])

    content = onnx_bytes(net)
    engines = {"torch": eager, "onnxruntime": session(content), "int8": session(quantize(content, images[:IMAGES]))}
    skipped = {}
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        skipped["compiled"] = "there is no C++ compiler (CXX, g++)"
    else:
        start = time.perf_counter()
        compiled = torch.compile(net)

        def fused(given: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return (compiled(torch.from_numpy(given)) / (net.temperature or 1.0)).softmax(1).numpy()

        fused(images[:1]), fused(images)
        engines["compiled"] = fused
        skipped["compiling_s"] = time.perf_counter() - start
    one = {name: [] for name in engines}
    many = {name: [] for name in engines}
    for call in engines.values():
        for _ in range(30):
            call(images[:1])
    for _ in range(rounds):
        for name, call in engines.items():
            time.sleep(REST_S)
            for row in range(100):
                given = images[row : row + 1]
                start = time.perf_counter()
                call(given)
                one[name].append(time.perf_counter() - start)
            call(images)
            start = time.perf_counter()
            for _ in range(TIMES):
                call(images)
            many[name].append((time.perf_counter() - start) / TIMES)
    found = {
        name: {
            "p50_ms": float(np.percentile(one[name], 50) * 1e3),
            "p99_ms": float(np.percentile(one[name], 99) * 1e3),
            "images_per_second": BATCH / statistics.median(many[name]),
            "best_images_per_second": BATCH / min(many[name]),
        }
        for name in engines
    }
    return {"engines": found, **skipped}


@contextlib.contextmanager
def servers(path: Path, folder: Path) -> Iterator[dict[str, tuple[subprocess.Popen, str]]]:
    """The running server and its two rivals, by name: process and address."""
    words = [f"ckpt={path}", "port=0", f"feedback={folder}/f.sqlite", f"hydra.run.dir={folder}/serve"]
    quiet = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    made = {"serve": subprocess.Popen([sys.executable, "-m", "src.serve", *words], **quiet)}
    try:
        while not (folder / "serve/results.json").is_file():
            if made["serve"].poll() is not None:
                raise SystemExit("the server did not start: see python -m src.serve")
            time.sleep(0.1)
        address = json.loads((folder / "serve/results.json").read_text())["address"]
        found = {"serve": address}
        for name in ("pillow", "decode"):
            port = int(address.rpartition(":")[2]) + 1 + len(made)
            words = [sys.executable, "-m", "benchmarks.bare", str(port), name]
            made[name] = subprocess.Popen(words, cwd=ROOT)
            found[name] = f"http://127.0.0.1:{port}"
        for address in found.values():
            reach(int(address.rpartition(":")[2]))
        with urlopen(f"{found['serve']}/healthz") as answer:
            answer.read()  # its port listens before there is an answer
        yield {name: (made[name], found[name]) for name in found}
    finally:
        for process in made.values():
            process.terminate()
        for process in made.values():
            process.wait()


def reach(port: int) -> None:
    """Wait until somebody listens on a port of this machine."""
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise SystemExit(f"nobody listens on port {port}")


def cpu_s(pid: int) -> float:
    """Processor seconds that a process has spent."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> float:
    """What a process holds in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def load(address: str, request: Path, *words: str) -> dict:
    """One go of `benchmarks.load`."""
    command = [sys.executable, "-m", "benchmarks.load", address, str(request), *words]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def whole(running: dict, request: Path, rounds: int, seconds: float) -> dict:
    """Requests per second and more of each server, medians over rounds in which they take turns."""
    goes: dict[str, list[dict]] = {name: [] for name in running}
    for number in range(rounds + 1):
        for name, (process, address) in running.items():
            before = cpu_s(process.pid)
            go = load(address, request, "--connections", str(CONNECTIONS), "--seconds", str(seconds if number else 1))
            go["cpu_ms"] = (cpu_s(process.pid) - before) / go["requests"] * 1e3
            if set(go["statuses"]) != {"200"} or go["lost"]:
                raise SystemExit(f"{name}: {go['statuses']}, {go['lost']} lost")
            goes[name] += [go] if number else []  # the first is for warming up
    keys = ("per_second", "p50_ms", "p99_ms", "cpu_ms")
    found = {name: {key: statistics.median(go[key] for go in some) for key in keys} for name, some in goes.items()}
    for rival in ("pillow", "decode"):
        ratios = [a["per_second"] / b["per_second"] for a, b in zip(goes["serve"], goes[rival], strict=True)]
        found["serve"][f"of_{rival}"] = statistics.median(ratios)
    return found


def memory(process: subprocess.Popen, address: str, folder: Path, requests: int) -> list[tuple[int, float]]:
    """Requests so far and megabytes, ten times over so many requests of several kinds."""
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (300, 400), dtype=np.uint8))
    kinds = [post("/predict", canvas()), post("/predict?look=true&top_k=10", canvas()), post("/predict", b"no picture")]
    for name in ("PNG", "JPEG", "WEBP", "BMP", "GIF"):
        file = io.BytesIO()
        noise.save(file, name)
        kinds.append(post("/predict", file.getvalue()))
    files = []
    for place, kind in enumerate(kinds):
        files.append(folder / f"kind{place}.http")
        files[-1].write_bytes(kind)
    shares = [0.75, *[0.25 / (len(files) - 1)] * (len(files) - 1)]
    found, sent = [], 0
    for part in range(11):  # the first is for warming up
        for file, share in zip(files, shares, strict=True):
            count = max(CONNECTIONS, round(requests / 10 * share))
            sent += load(address, file, "--connections", str(CONNECTIONS), "--requests", str(count))["requests"]
        if part == 0:
            sent = 0
        found.append((sent, rss_mb(process.pid)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", help="a run's folder or a file; an untrained lenet by default")
    parts = ["network", "server", "memory"]
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4.0, help="of load per server and round")
    parser.add_argument("--requests", type=int, default=100_000, help="for memory")
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = find_checkpoint(given.ckpt, ROOT / "outputs") if given.ckpt else untrained(folder / "lenet.ckpt")
        if given.threads:  # one of the processes below
            print(json.dumps(network(path, given.threads, given.rounds)))
            return
        if "network" in given.only:
            show_network(path, given.rounds)
        if not {"server", "memory"} & set(given.only):
            return
        request = folder / "canvas.http"
        request.write_bytes(post("/predict", canvas()))
        with servers(path, folder) as running:
            if "server" in given.only:
                show_server(whole(running, request, given.rounds, given.seconds))
            if "memory" in given.only:
                show_memory(memory(*running["serve"], folder, given.requests))


def show_network(path: Path, rounds: int) -> None:
    """Measure and print, one number of threads after the other."""
    print(f"{'network':24} {'p50 ms':>9} {'p99 ms':>9} {'x faster':>9} {'images/s':>11} {'at best':>11}")
    for threads in (1, 2):
        words = ["--ckpt", str(path), "--threads", str(threads), "--rounds", str(rounds)]
        env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, "-m", "benchmarks.serve", *words]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        found = json.loads(done.stdout.splitlines()[-1])
        eager = found["engines"]["torch"]["p50_ms"]
        for name, row in found["engines"].items():
            label = f"{name}, {threads} thread{'s' * (threads > 1)}"
            print(f"{label:24} {row['p50_ms']:9.4f} {row['p99_ms']:9.4f} {eager / row['p50_ms']:9.1f} "
                  f"{row['images_per_second']:11,.0f} {row['best_images_per_second']:11,.0f}")  # fmt: skip
        if isinstance(found.get("compiled"), str):
            print(f"compiled, {threads}: left out, {found['compiled']}")
        if "compiling_s" in found:
            print(f"  compiling took {found['compiling_s']:.0f} s")


def show_server(found: dict) -> None:
    """Print what `whole` found."""
    print(f"\n{'at 16 connections':24} {'per second':>11} {'p50 ms':>9} {'p99 ms':>9} {'cpu ms':>9}")
    for name, row in found.items():
        cells = f"{row['per_second']:11,.0f} {row['p50_ms']:9.1f} {row['p99_ms']:9.1f} {row['cpu_ms']:9.3f}"
        print(f"{name:24} {cells}")
    ours = found["serve"]
    print(f"serve answers {ours['of_pillow']:.2f} of what the handler with Pillow does, {ours['of_decode']:.2f} of the "
          "one with decode (medians of rounds)")  # fmt: skip


def show_memory(found: list[tuple[int, float]]) -> None:
    """Print what `memory` found."""
    print(f"\n{'requests':>10} {'resident MB':>12}")
    for sent, megabytes in found:
        print(f"{sent:10,} {megabytes:12.1f}")
    half = len(found) // 2
    growth = statistics.mean(mb for _, mb in found[half:]) - statistics.mean(mb for _, mb in found[1:half])
    print(f"second half minus first half: {growth:+.1f} MB")


if __name__ == "__main__":
    main()
