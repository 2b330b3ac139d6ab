"""Say what pictures show: python -m src.predict ckpt=<run, file or newest> images=<files, folders, patterns, -> ..."""

import logging
import os
import sys
import time

from omegaconf import DictConfig

from src.cli.command import command, output_folder
from src.cli.config import ROOT
from src.cli.inputs import INKS, check_device, picture_patterns, select_device
from src.cli.process import check_threads, set_threads, tune_process
from src.errors import InputError, is_integer, is_number, require
from src.files import display_path
from src.model_files.locate import find_checkpoint

log = logging.getLogger(__name__)
FORMATS = ("table", "json", "csv")


@command("predict")
def main(cfg: DictConfig) -> None:
    """Print an answer per picture; predictions.json or predictions.csv and results.json in the run's folder."""
    check(cfg)
    words = picture_patterns(cfg.images)
    path = find_checkpoint(cfg.ckpt, ROOT / "outputs", int8=True)
    base = find_checkpoint(cfg.base, ROOT / "outputs", key="base") if cfg.base else None

    from tqdm import tqdm

    from src.files import write_bytes, write_json
    from src.inference.predict_pictures import answer_pictures, as_csv, as_json, as_table, name_pictures
    from src.model_files.load import load_predictor
    from src.pictures.inputs import choose_ink
    from src.pictures.reader import Reader

    tune_process()
    set_threads(cfg.threads)
    named = name_pictures(words, sys.stdin.buffer.read)
    net = load_predictor(path, base, cfg.threads)
    require(net.engine == "torch" or cfg.device in ("auto", "cpu"), f"device={cfg.device}: ONNX files take device=cpu")
    trained = net.config["data"]
    ink = choose_ink(cfg.ink, net.info.shape, trained)
    how = {
        "top_k": cfg.top_k,
        "threshold": cfg.threshold,
        "batch_size": cfg.batch_size,
        "threads": cfg.threads or os.cpu_count() or 1,
        "device": select_device(cfg.device) if net.engine == "torch" else "cpu",
    }
    started, answers = time.perf_counter(), []
    quiet = not sys.stderr.isatty()
    with tqdm(total=len(named), unit=" pictures", leave=False, dynamic_ncols=True, disable=quiet) as bar:
        for batch in answer_pictures(named, net, Reader(net.info.shape, ink, cfg.several), **how):
            answers += batch
            bar.update(len(batch))
    seconds = time.perf_counter() - started

    folder, wrong = output_folder(), [said for said in answers if "error" in said]
    kind, form = ("csv", as_csv) if cfg.format == "csv" else ("json", as_json)
    text = form(answers)
    write_bytes(folder / f"predictions.{kind}", f"{text}\n".encode())
    empty, low = (sum(bool(said.get(key)) for said in answers) for key in ("reason", "low_confidence"))
    write_json(
        folder / "results.json",
        {
            "ckpt": str(path),
            "sha256": net.digest,
            "ink": "mnist" if ink else "none",
            "pictures": len(answers),
            "not_read": len(wrong),
            "empty": empty,
            "low_confidence": low,
            "seconds": round(seconds, 3),
        },
    )
    print(as_table(answers) if cfg.format == "table" else text, flush=True)
    rate = f"{len(answers) / seconds:,.0f} a second"
    network = f"{display_path(path)}, ink={'mnist' if ink else 'none'}"
    count = f"{len(answers):,} picture{'s' * (len(answers) != 1)}"
    log.info("%s, %s, by %s; %s", count, rate, network, display_path(folder))
    if wrong:
        first = wrong[0]["error"]["message"]
        if len(answers) == 1:
            raise InputError(first)
        raise InputError(f"{len(wrong):,} of {len(answers):,} pictures could not be read; the first: {first}")


def check(cfg: DictConfig) -> None:
    """Raise InputError for values that make no sense, before anything is loaded; torch is not."""
    require(
        cfg.images is not None,
        "images is missing: give a file, a folder, a pattern such as 'digits/*.png', a list or -",
    )
    for key, words in (("format", FORMATS), ("ink", INKS)):
        require(cfg[key] in words, f"{key}={cfg[key]}: one of {', '.join(words)}")
    for key, most in (("top_k", 1000), ("batch_size", 65_536)):
        require(is_integer(cfg[key]) and 1 <= cfg[key] <= most, f"{key}={cfg[key]}: 1 to {most:,}")
    good = is_number(cfg.threshold) and 0 <= cfg.threshold <= 1
    require(good, f"threshold={cfg.threshold}: a probability, 0 to 1")
    require(isinstance(cfg.several, bool), f"several={cfg.several}: true or false")
    require(cfg.base is None or isinstance(cfg.base, str), f"base={cfg.base}: a file or a run's folder")
    check_device(cfg.device)
    check_threads(cfg.threads)


if __name__ == "__main__":
    main()
