"""Own photographs from folder to server: python -m benchmarks.photos [--epochs 30] [--layouts classes] [--seeds 0 1]

Draws 2,000 pictures of 64x64 in eight classes (`benchmarks.photo_data`), lays them out in four ways, and trains
`experiment=photos_scratch` on each; 1,000 pictures of another draw are evaluated as a folder of their own. The first
run is then asked in four ways about these 1,000: `src.evaluate`, `src.predict`, the exported file by Pillow and plain
onnxruntime, and HTTP. Prints accuracies, seconds, and by how much the probabilities differ.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import onnxruntime
from PIL import Image

from benchmarks.photo_data import LAYOUTS, arrange, draw_folder
from benchmarks.serve import wait_for_port
from src.cli.config import ROOT

COUNT, NEW = 2_000, 1_000
Answers = dict[str, tuple[str, float]]  # file name -> class and its probability


def command(*words: object) -> str:
    """The output of a command of this project; ends this program if it fails."""
    done = subprocess.run([sys.executable, "-m", *map(str, words)], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}: {done.stderr.strip()}")
    return done.stdout


def by_evaluate(run: Path, pictures: Path, folder: Path) -> Answers:
    """The answers of `src.evaluate` for a folder of classes."""
    command("src.evaluate", f"ckpt={run}", f"data.root={pictures}", "figures=false", f"hydra.run.dir={folder}")
    with (folder / "predictions.csv").open(newline="") as file:
        return {Path(row["file"]).name: (row["answer"], float(row["probability"])) for row in csv.DictReader(file)}


def by_predict(run: Path, pictures: Path, folder: Path) -> Answers:
    """The answers of `src.predict` for all pictures below a folder."""
    output = command("src.predict", f"ckpt={run}", f"images={pictures}", "format=json", f"hydra.run.dir={folder}")
    return {Path(one["file"]).name: (one["prediction"], one["probability"]) for one in json.loads(output)}


def by_onnxruntime(file: Path, pictures: Path) -> Answers:
    """The answers of an exported file without this project's code, for pictures of the network's own size."""
    session = onnxruntime.InferenceSession(file)
    names = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])
    paths = sorted(pictures.rglob("*.png"))
    images = np.stack([np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1) for path in paths])
    answers = {}
    for start in range(0, len(paths), 250):
        (probs, *_) = session.run(None, {session.get_inputs()[0].name: images[start : start + 250]})
        for path, row in zip(paths[start : start + 250], probs, strict=True):
            answers[path.name] = (names[int(row.argmax())], float(row.max()))
    return answers


@contextmanager
def served(run: Path, folder: Path) -> Iterator[str]:
    """The address of a server of the run."""
    port = 8123 + os.getpid() % 1000
    words = ["src.serve", f"ckpt={run}", f"port={port}", f"hydra.run.dir={folder}"]
    process = subprocess.Popen([sys.executable, "-m", *words], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def by_http(address: str, pictures: Path) -> Answers:
    """The answers of a server, one request per picture."""
    answers = {}
    for path in sorted(pictures.rglob("*.png")):
        request = Request(f"{address}/predict", path.read_bytes(), {"content-type": "image/png"})
        with urlopen(request) as response:
            answer = json.load(response)
        answers[path.name] = (answer["prediction"], answer["probability"])
    return answers


def compare(answers: dict[str, Answers], truth: dict[str, str]) -> None:
    """Print the accuracy of each way to ask, and how far it is from the first."""
    first = next(iter(answers.values()))
    for name, found in answers.items():
        right = sum(found[file][0] == label for file, label in truth.items())
        others = sum(found[file][0] != first[file][0] for file in truth)
        difference = max(abs(found[file][1] - first[file][1]) for file in truth)
        accuracy = f"{100 * right / len(truth):6.2f} %"
        print(f"{name:<20} {accuracy}   {others} other answers, probabilities within {difference:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=LAYOUTS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--set", nargs="*", default=[], help="further overrides of src.train")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        drawn, new = draw_folder(folder / "drawn", COUNT, seed=0), draw_folder(folder / "new", NEW, seed=1)
        truth = {path.name: path.parent.name for path in new.rglob("*.png")}
        print(f"{'layout':<16} seed   validation      test   {NEW:,} new   seconds")
        runs = []
        for layout in options.layouts:
            pictures = arrange(drawn, folder / layout.replace(" ", "_"), layout)
            for seed in options.seeds:
                run = folder / "runs" / f"{layout.replace(' ', '_')}_{seed}"
                words = [f"data.root={pictures}", f"seed={seed}", f"trainer.max_epochs={options.epochs}", *options.set]
                started = time.perf_counter()
                command("src.train", "experiment=photos_scratch", *words, f"hydra.run.dir={run}", "logger=none")
                seconds = time.perf_counter() - started
                results = json.loads((run / "results.json").read_text())
                answers = by_evaluate(run, new, run / "new")
                right = sum(answers[file][0] == label for file, label in truth.items())
                rates = (results["best_score"], results["test"]["acc"], right / len(truth))
                cells = "   ".join(f"{100 * rate:6.2f} %" for rate in rates)
                print(f"{layout:<16} {seed:>4}     {cells}   {seconds:7.0f}", flush=True)
                runs.append(run)
        run, onnx = runs[0], folder / "network.onnx"
        command("src.export", f"ckpt={run}", f"file={onnx}", f"hydra.run.dir={folder / 'export'}")
        answers = {
            "src.evaluate": by_evaluate(run, new, folder / "evaluate"),
            "src.predict": by_predict(run, new, folder / "predict"),
            "plain onnxruntime": by_onnxruntime(onnx, new),
        }
        with served(run, folder / "serve") as address:
            answers["HTTP"] = by_http(address, new)
        print(f"\nthe first run on the {NEW:,} new pictures, asked in four ways")
        compare(answers, truth)


if __name__ == "__main__":
    main()
