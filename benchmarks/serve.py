"""How fast predictions are: python -m benchmarks.serve [--ckpt <run or file>] [--requests 100000] [--only network ...]

network: one image, and 256 at once, by eager torch, compiled torch, and ONNX Runtime in float32 and int8, with one and
two threads; engines take turns within one process per number of threads. int8 is calibrated on noise: that changes its
predictions, which are not looked at, but not its time.
server: `src.serve` and two bare servers on the same uvicorn, at 16 keep-alive connections, in turns. One decodes the
picture with Pillow and does nothing else, one with the project's `decode`, which also handles limits, rotation and
transparency. The picture is what the page sends: 280x280, RGBA, PNG. The load comes from another process, so that three
processes share two cores. "cpu ms" is the processor time of the server per request; it varies less with other load.
memory: resident set of the server over so many requests, pictures of many formats and errors among them.
Without --ckpt it measures an untrained LeNet: weights do not change the time.
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
from src.files import OUTPUTS
from src.model_files.locate import find_checkpoint

CONNECTIONS, BATCH, IMAGES, TIMES = 16, 256, 200, 10
PAUSE_S = 0.05  # torch's threads spin for some milliseconds, on a core that the next engine needs


def write_untrained(path: Path) -> Path:
    """Write a LeNet with random weights."""
    from src.data.info import DataInfo
    from src.model_files.checkpoint import write_checkpoint
    from src.models.lenet import LeNet

    info = DataInfo((1, 28, 28), tuple("0123456789"), (0.1307,), (0.3081,))
    weights = {f"model.{key}": value for key, value in LeNet(info.shape, 10).state_dict().items()}
    config = {"model": {"_target_": "src.models.lenet.LeNet"}, "data": {"name": "mnist"}, "structure": []}
    write_checkpoint({"state_dict": weights, "config": config, "facts": info.to_dict(), "epoch": 0}, path)
    return path


def draw_seven() -> bytes:
    """A 7 as the page sends it."""
    large = Image.new("RGB", (1120, 1120), "white")
    ImageDraw.Draw(large).line([(300, 250), (800, 250), (450, 950)], fill="black", width=90, joint="curve")
    file = io.BytesIO()
    large.resize((280, 280), Image.Resampling.LANCZOS).convert("RGBA").save(file, "PNG")
    return file.getvalue()


def measure_network(path: Path, threads: int, rounds: int) -> dict:
    """Milliseconds for one image and images per second for 256, by engine, in this process."""
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

    def eager(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return net.probs(torch.from_numpy(batch)).numpy()

    def onnxruntime_call(content: bytes) -> Callable:
        return partial(Runner(content, threads), output_names(net.info)[0])

    content = onnx_bytes(net)
    engines = {"torch": eager, "onnxruntime": onnxruntime_call(content)}
    engines["int8"] = onnxruntime_call(quantize(content, images[:IMAGES]))
    notes = {}
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        notes["compiled"] = "there is no C++ compiler (CXX, g++)"
    else:
        start = time.perf_counter()
        compiled = torch.compile(net)

        def compiled_probs(batch: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return (compiled(torch.from_numpy(batch)) / (net.temperature or 1.0)).softmax(1).numpy()

        compiled_probs(images[:1]), compiled_probs(images)
        engines["compiled"] = compiled_probs
        notes["compiling_s"] = time.perf_counter() - start
    one = {name: [] for name in engines}
    many = {name: [] for name in engines}
    for call in engines.values():
        for _ in range(30):
            call(images[:1])
    for _ in range(rounds):
        for name, call in engines.items():
            time.sleep(PAUSE_S)
            for row in range(100):
                image = images[row : row + 1]
                start = time.perf_counter()
                call(image)
                one[name].append(time.perf_counter() - start)
            call(images)
            start = time.perf_counter()
            for _ in range(TIMES):
                call(images)
            many[name].append((time.perf_counter() - start) / TIMES)
    results = {
        name: {
            "p50_ms": float(np.percentile(one[name], 50) * 1e3),
            "p99_ms": float(np.percentile(one[name], 99) * 1e3),
            "images_per_second": BATCH / statistics.median(many[name]),
            "best_images_per_second": BATCH / min(many[name]),
        }
        for name in engines
    }
    return {"engines": results, **notes}


@contextlib.contextmanager
def servers(path: Path, folder: Path) -> Iterator[dict[str, tuple[subprocess.Popen, str]]]:
    """The server and the two baselines: name -> process and address."""
    words = [f"ckpt={path}", "port=0", f"feedback={folder}/f.sqlite", f"hydra.run.dir={folder}/serve"]
    quiet = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = {"serve": subprocess.Popen([sys.executable, "-m", "src.serve", *words], **quiet)}
    try:
        while not (folder / "serve/results.json").is_file():
            if processes["serve"].poll() is not None:
                raise SystemExit("the server did not start: see python -m src.serve")
            time.sleep(0.1)
        address = json.loads((folder / "serve/results.json").read_text())["address"]
        addresses = {"serve": address}
        for name in ("pillow", "decode"):
            port = int(address.rpartition(":")[2]) + 1 + len(processes)
            words = [sys.executable, "-m", "benchmarks.bare", str(port), name]
            processes[name] = subprocess.Popen(words, cwd=ROOT)
            addresses[name] = f"http://127.0.0.1:{port}"
        for address in addresses.values():
            wait_for_port(int(address.rpartition(":")[2]))
        with urlopen(f"{addresses['serve']}/healthz") as answer:
            answer.read()  # its port listens before it answers
        yield {name: (processes[name], address) for name, address in addresses.items()}
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.wait()


def wait_for_port(port: int) -> None:
    """Wait until a port of this machine is listened on."""
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise SystemExit(f"nothing listens on port {port}")


def cpu_s(pid: int) -> float:
    """Processor seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> float:
    """Resident set of a process in megabytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def run_load(address: str, request: Path, *words: str) -> dict:
    """One run of `benchmarks.load`."""
    command = [sys.executable, "-m", "benchmarks.load", address, str(request), *words]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def measure_servers(running: dict, request: Path, rounds: int, seconds: float) -> dict:
    """Rates, latencies and processor time of each server, medians over rounds in which they take turns."""
    runs: dict[str, list[dict]] = {name: [] for name in running}
    for number in range(rounds + 1):
        for name, (process, address) in running.items():
            before = cpu_s(process.pid)
            result = run_load(
                address, request, "--connections", str(CONNECTIONS), "--seconds", str(seconds if number else 1)
            )
            result["cpu_ms"] = (cpu_s(process.pid) - before) / result["requests"] * 1e3
            if set(result["statuses"]) != {"200"} or result["lost"]:
                raise SystemExit(f"{name}: {result['statuses']}, {result['lost']} lost")
            runs[name] += [result] if number else []  # the first round warms up
    keys = ("per_second", "p50_ms", "p99_ms", "cpu_ms")
    medians = {
        name: {key: statistics.median(result[key] for result in results) for key in keys}
        for name, results in runs.items()
    }
    for baseline in ("pillow", "decode"):
        ratios = [a["per_second"] / b["per_second"] for a, b in zip(runs["serve"], runs[baseline], strict=True)]
        medians["serve"][f"of_{baseline}"] = statistics.median(ratios)
    return medians


def measure_memory(process: subprocess.Popen, address: str, folder: Path, requests: int) -> list[tuple[int, float]]:
    """Requests so far and megabytes: ten samples over `requests` requests of several kinds."""
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (300, 400), dtype=np.uint8))
    contents = [
        post("/predict", draw_seven()),
        post("/predict?look=true&top_k=10", draw_seven()),
        post("/predict", b"no picture"),
    ]
    for name in ("PNG", "JPEG", "WEBP", "BMP", "GIF"):
        file = io.BytesIO()
        noise.save(file, name)
        contents.append(post("/predict", file.getvalue()))
    files = []
    for index, content in enumerate(contents):
        files.append(folder / f"kind{index}.http")
        files[-1].write_bytes(content)
    fractions = [0.75, *[0.25 / (len(files) - 1)] * (len(files) - 1)]
    samples, sent = [], 0
    for part in range(11):  # the first round warms up
        for file, fraction in zip(files, fractions, strict=True):
            count = max(CONNECTIONS, round(requests / 10 * fraction))
            sent += run_load(address, file, "--connections", str(CONNECTIONS), "--requests", str(count))["requests"]
        if part == 0:
            sent = 0
        samples.append((sent, rss_mb(process.pid)))
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", help="a run's folder or a file; an untrained LeNet by default")
    parts = ["network", "server", "memory"]
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4.0, help="of load per server and round")
    parser.add_argument("--requests", type=int, default=100_000, help="for memory")
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = find_checkpoint(args.ckpt, OUTPUTS) if args.ckpt else write_untrained(folder / "lenet.ckpt")
        if args.threads:  # in a process that print_network starts
            print(json.dumps(measure_network(path, args.threads, args.rounds)))
            return
        if "network" in args.only:
            print_network(path, args.rounds)
        if not {"server", "memory"} & set(args.only):
            return
        request = folder / "canvas.http"
        request.write_bytes(post("/predict", draw_seven()))
        with servers(path, folder) as running:
            if "server" in args.only:
                print_servers(measure_servers(running, request, args.rounds, args.seconds))
            if "memory" in args.only:
                print_memory(measure_memory(*running["serve"], folder, args.requests))


def print_network(path: Path, rounds: int) -> None:
    """Measure and print the engines with one thread, then with two."""
    print(f"{'network':24} {'p50 ms':>9} {'p99 ms':>9} {'x faster':>9} {'images/s':>11} {'at best':>11}")
    for threads in (1, 2):
        words = ["--ckpt", str(path), "--threads", str(threads), "--rounds", str(rounds)]
        env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, "-m", "benchmarks.serve", *words]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        results = json.loads(done.stdout.splitlines()[-1])
        eager = results["engines"]["torch"]["p50_ms"]
        for name, row in results["engines"].items():
            label = f"{name}, {threads} thread{'s' * (threads > 1)}"
            print(f"{label:24} {row['p50_ms']:9.4f} {row['p99_ms']:9.4f} {eager / row['p50_ms']:9.1f} "
                  f"{row['images_per_second']:11,.0f} {row['best_images_per_second']:11,.0f}")  # fmt: skip
        if isinstance(results.get("compiled"), str):
            print(f"compiled, {threads}: skipped, {results['compiled']}")
        if "compiling_s" in results:
            print(f"  compiling took {results['compiling_s']:.0f} s")


def print_servers(medians: dict) -> None:
    """Print a table of the servers."""
    print(f"\n{'at 16 connections':24} {'per second':>11} {'p50 ms':>9} {'p99 ms':>9} {'cpu ms':>9}")
    for name, row in medians.items():
        cells = f"{row['per_second']:11,.0f} {row['p50_ms']:9.1f} {row['p99_ms']:9.1f} {row['cpu_ms']:9.3f}"
        print(f"{name:24} {cells}")
    ours = medians["serve"]
    print(f"serve handles {ours['of_pillow']:.2f} of the requests per second of the server with Pillow, "
          f"{ours['of_decode']:.2f} of the one with decode (medians of rounds)")  # fmt: skip


def print_memory(samples: list[tuple[int, float]]) -> None:
    """Print the samples and the growth."""
    print(f"\n{'requests':>10} {'resident MB':>12}")
    for sent, megabytes in samples:
        print(f"{sent:10,} {megabytes:12.1f}")
    half = len(samples) // 2
    growth = statistics.mean(mb for _, mb in samples[half:]) - statistics.mean(mb for _, mb in samples[1:half])
    print(f"second half minus first half: {growth:+.1f} MB")


if __name__ == "__main__":
    main()
