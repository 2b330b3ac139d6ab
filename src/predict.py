"""Classify your own pictures: python -m src.predict ckpt=<run, file or newest> images=<files, folders, patterns, ->"""

import logging
import os
import sys
import time
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from src.cli.command import command
from src.cli.imports import import_torchmetrics
from src.cli.inputs import INKS, check_device, picture_patterns, select_device
from src.cli.job_record import output_folder
from src.cli.process import check_threads, set_threads, tune_process
from src.errors import InputError, boolean, choice, fraction, positive_int, require, text
from src.files import OUTPUTS, display_path
from src.model_files.locate import find_checkpoint

if TYPE_CHECKING:
    from src.inference.model import Predictor
    from src.pictures.reader import Reader

log = logging.getLogger(__name__)


@command("predict")
def main(cfg: DictConfig) -> None:
    """Print the predictions, and write predictions.json or predictions.csv and results.json into the run's folder."""
    _check_options(cfg)
    patterns = picture_patterns(cfg.images)
    path = find_checkpoint(cfg.ckpt, OUTPUTS, int8=True)
    base = find_checkpoint(cfg.base, OUTPUTS, key="base") if cfg.base else None

    import_torchmetrics(cfg)
    from src.inference.predict_pictures import list_sources
    from src.model_files.load import load_predictor
    from src.pictures.inputs import resolve_ink
    from src.pictures.reader import Reader

    tune_process()
    set_threads(cfg.threads)
    sources = list_sources(patterns, sys.stdin.buffer.read)
    predictor = load_predictor(path, base, cfg.threads)
    if predictor.engine != "torch":
        require(cfg.device in ("auto", "cpu"), f"device={cfg.device}: ONNX files take device=cpu")
    ink = resolve_ink(cfg.ink, predictor.info.shape, predictor.config["data"])
    started = time.perf_counter()
    records = _predict(cfg, sources, predictor, Reader(predictor.info.shape, ink, cfg.several))
    seconds = time.perf_counter() - started

    about = {"ckpt": str(path), "sha256": predictor.digest, "ink": "mnist" if ink else "none"}
    answers = _write_results(cfg.format, records, about, seconds)
    if cfg.format == "table" and len(records) == 1 and "error" in records[0]:
        raise InputError(records[0]["error"]["message"])
    print(answers, flush=True)
    rate = f"{len(records) / seconds:,.0f} a second"
    count = f"{len(records):,} picture{'s' * (len(records) != 1)}"
    network = f"{display_path(path)}, ink={about['ink']}"
    log.info("%s, %s, by %s; %s", count, rate, network, display_path(output_folder()))
    _report_errors(records)


def _predict(cfg: DictConfig, sources: list, predictor: "Predictor", reader: "Reader") -> list[dict]:
    from tqdm import tqdm

    from src.inference.predict_pictures import predict_pictures

    batches = predict_pictures(
        sources,
        predictor,
        reader,
        top_k=cfg.top_k,
        threshold=cfg.threshold,
        batch_size=cfg.batch_size,
        threads=cfg.threads or os.cpu_count() or 1,
        device=select_device(cfg.device) if predictor.engine == "torch" else "cpu",
    )
    records: list[dict] = []
    quiet = not sys.stderr.isatty()
    with tqdm(total=len(sources), unit=" pictures", leave=False, dynamic_ncols=True, disable=quiet) as bar:
        for batch in batches:
            records += batch
            bar.update(len(batch))
    return records


def _write_results(format: str, records: list[dict], about: dict, seconds: float) -> str:
    from src.files import write_json, write_text
    from src.inference.records import records_to_csv, records_to_json, records_to_table

    suffix, to_text = ("csv", records_to_csv) if format == "csv" else ("json", records_to_json)
    content = to_text(records)
    folder = output_folder()
    write_text(folder / f"predictions.{suffix}", f"{content}\n")
    keys = {"not_read": "error", "empty": "reason", "low_confidence": "low_confidence"}
    counts = {name: sum(bool(record.get(key)) for record in records) for name, key in keys.items()}
    results = {**about, "pictures": len(records), **counts, "seconds": round(seconds, 3)}
    write_json(folder / "results.json", results)
    return records_to_table(records) if format == "table" else content


def _report_errors(records: list[dict]) -> None:
    errors = [record["error"]["message"] for record in records if "error" in record]
    if errors and len(records) == 1:
        raise InputError(errors[0])
    if errors:
        raise InputError(f"{len(errors):,} of {len(records):,} pictures could not be read; the first: {errors[0]}")


def _check_options(cfg: DictConfig) -> None:
    """Raise InputError for invalid options, before anything is loaded; does not import torch."""
    missing = "images is missing: give a file, a folder, a pattern such as 'digits/*.png', a list or -"
    require(cfg.images is not None, missing)
    choice("format", cfg.format, ("table", "json", "csv"))
    choice("ink", cfg.ink, INKS)
    positive_int("top_k", cfg.top_k, most=1000)
    positive_int("batch_size", cfg.batch_size, most=65_536)
    fraction("threshold", cfg.threshold)
    boolean("several", cfg.several)
    text("base", cfg.base, "a file or a run's folder", optional=True)
    check_device(cfg.device)
    check_threads(cfg.threads)


if __name__ == "__main__":
    main()
