"""Fine-tuning methods and numbers of labels: python -m benchmarks.finetune [--start newest] [--target usps]

Each run is `python -m src.train init_from=... finetune=... data=... data.shots=...`, in one process per core. The last
rows of each block are training from scratch, and the default with data.unlabelled=true, which alone sees the images of
the training split whose labels were not drawn. --split val never reads the test split: use it to tune.
"""

import argparse
import contextlib
import io
import json
import os
import statistics
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from benchmarks.finetune_targets import TARGETS, colour_source
from src.cli.config import CONF, load_config
from src.files import OUTPUTS

SCRATCH, UNLABELLED = "scratch", "unlabelled"
T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 10: 2.262, 20: 2.093}  # two-sided, by number of runs


def methods() -> list[str]:
    """Every option of conf/finetune but none."""
    return sorted(path.stem for path in (CONF / "finetune").glob("*.yaml") if path.stem != "none")


def run(job: tuple[str, int | None, int], source: str, words: list[str], split: str) -> dict | str:
    """The results of one run, or the message that refused it."""
    import torch

    from src.errors import InputError
    from src.training.fit import train

    torch.set_num_threads(1)
    method, shots, seed = job
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        overrides = [
            "experiment=finetune",
            f"seed={seed}",
            f"data.shots={shots or 'null'}",
            "logger=none",
            "figures=false",
        ]
        overrides += [
            f"output_dir={folder}",
            "run_name=x",
            "trainer.enable_progress_bar=false",
            "trainer.accelerator=cpu",
        ]
        overrides += [f"test={str(split == 'test').lower()}", "threads=1"]
        overrides += ["finetune=none"] if method == SCRATCH else [f"init_from='{source}'"]
        overrides += [f"finetune={method}"] if method not in (SCRATCH, UNLABELLED, "default") else []
        overrides += ["data.unlabelled=true"] if method == UNLABELLED else []
        cfg = load_config([*overrides, *words])
        try:
            val = train(cfg, overrides)
        except InputError as error:
            return str(error)
        if split == "val":
            return {"after": val}
        results = json.loads((Path(folder) / "results.json").read_text())
        return {"after": results["test"]["acc"], **results.get("transfer", {})}


def spread(values: list[float]) -> str:
    """Mean ± sd, and the half-width of the 95 % interval of the mean, in per cent."""
    mean = 100 * statistics.mean(values)
    if len(values) < 2:
        return f"{mean:6.2f}"
    sd = 100 * statistics.stdev(values)
    half = T95.get(len(values), 1.96) * sd / len(values) ** 0.5
    return f"{mean:6.2f} ± {sd:4.2f} (95 %: ± {half:4.2f})"


def main() -> None:
    """Print a block per number of labels, a row per method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--start", default="newest", help="run folder or file to start from; --target colour trains one"
    )
    parser.add_argument("--root", help="data.root of the target: folder with MNIST/raw and usps_train")
    parser.add_argument("--target", default="digits", choices=TARGETS, help="what the methods are tuned on")
    parser.add_argument("--data", help="a data set of your own instead, as data=; its keys follow with --set")
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 3, 5, 10, 20], help="images per class; 0 for all")
    parser.add_argument("--methods", nargs="+", default=["default", *methods(), SCRATCH, UNLABELLED])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--split", choices=("test", "val"), default="test")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--set", nargs="*", default=[], help="more overrides, such as data.quarter_turns=1")
    args = parser.parse_args()

    from src.model_files.locate import find_checkpoint

    target = args.data or args.target
    cells: dict[str, list[str]] = {}
    with (
        tempfile.TemporaryDirectory() as temporary,
        ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool,
    ):
        folder, root = Path(temporary), Path(args.root or "data").resolve()
        start = colour_source(folder / "learned", folder / "start") if target == "colour" else args.start
        source = str(find_checkpoint(str(start), OUTPUTS, key="--start").resolve())
        own = [f"data={args.data}", *([f"data.root={root}"] if args.root else [])]
        words = [*(own if args.data else TARGETS[args.target](root, folder / "target")), *args.set]
        for shots in args.shots:
            print(f"\n{target}, {f'{shots} images per class' if shots else 'all images'}, {args.split} split")
            jobs = [(method, shots or None, seed) for method in args.methods for seed in range(args.seeds)]
            done = list(pool.map(partial(run, source=source, words=words, split=args.split), jobs))
            for method in args.methods:
                results = [result for job, result in zip(jobs, done, strict=True) if job[0] == method]
                if isinstance(results[0], str):
                    print(f"  {method:<16} refused: {results[0]}")
                    continue
                after = spread([result["after"] for result in results])
                cells.setdefault(method, []).append(after.partition(" (")[0].strip())
                row = f"  {method:<16} {after}"
                if results[0].get("before") is not None:
                    row += f"   zero-shot {spread([r['before'] for r in results])[:6]}"
                if results[0].get("source_after") is not None:
                    retained = spread([r["source_after"] for r in results])
                    row += f"   source {100 * results[0]['source_before']:.2f} -> {retained[:14]}"
                if "trainable" in results[0]:
                    seconds = statistics.median(result["seconds"] for result in results)
                    row += f"   {results[0]['trainable']:,} trained, {seconds:.1f} s"
                print(row, flush=True)
    print("\n" + " ".join([f"{'images per class':<16}", *(f"{shots or 'all':>13}" for shots in args.shots)]))
    for method, row in cells.items():
        print(" ".join([f"{method:<16}", *(f"{cell:>13}" for cell in row)]))


if __name__ == "__main__":
    main()
