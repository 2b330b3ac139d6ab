"""Make a trained network smaller or faster: python -m src.compress ckpt=<run, file or newest> method=<method>"""

import logging
import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf

from src.cli.command import command
from src.cli.config import CONF, load_config, to_plain
from src.cli.imports import import_torchmetrics
from src.cli.inputs import build_data, select_split
from src.cli.job_record import output_folder
from src.cli.overrides import command_text, hydra_literal, override_key, trust_words
from src.cli.process import check_threads, tune_process
from src.errors import InputError, boolean, choice, integer, number, positive_int, require, require_packages, text
from src.files import OUTPUTS, display_path, write_bytes, write_json
from src.model_files.locate import find_checkpoint

if TYPE_CHECKING:
    from src.compression.candidates import Candidate
    from src.data.datamodule import ImageData
    from src.inference.model import InferenceModel

log = logging.getLogger(__name__)
METHOD_KEYS = {"prune": "sparsity", "channels": "keep", "int8": "images", "distill": "model"}
KEYS_OF_COMPRESS = ("init_from", "resume_from", "output_dir", "run_name", "model", "sweep", "finetune")  # not in train=


@command("compress")
def main(cfg: DictConfig) -> float:
    """Compress one network by one method and compare before and after. Returns the selected network's accuracy."""
    _check_options(cfg, {override_key(word) for word in HydraConfig.get().overrides.task})
    path = find_checkpoint(cfg.ckpt, OUTPUTS)
    base = find_checkpoint(cfg.base, OUTPUTS, key="base") if cfg.base else None

    import_torchmetrics(cfg)
    from src.compression.candidates import measure_candidates, select_candidate, validation_accuracies
    from src.model_files.load import load_predictor, require_weights

    tune_process()
    folder = output_folder()
    net = require_weights(load_predictor(path, base), f"method={cfg.method}")
    net.info.output.require_classes(f"method={cfg.method}", "compress compares how many classes are right")
    data = build_data(cfg, net.config["data"])
    batches = select_split(data, "test", net)
    data.setup()
    file = folder / ("int8.onnx" if cfg.method == "int8" else "checkpoints/best.ckpt")
    before = _make_candidate("before", net)
    if cfg.method == "int8":
        candidates = [before, _quantize(cfg, before, data, file)]
    else:
        values = to_plain(cfg)[METHOD_KEYS[cfg.method]]  # the weakest compression first
        values = values if isinstance(values, list) else [values]
        candidates = [before, *(_train(cfg, net, path, value, folder) for value in values)]
    val_accs = validation_accuracies(candidates, data)
    selected = select_candidate(val_accs, cfg.tolerance)
    file.parent.mkdir(exist_ok=True)
    write_bytes(file, candidates[selected].content)
    rows = measure_candidates(candidates, val_accs, data, batches, cfg.threads, cfg.turns)
    about = {"ckpt": str(path), "sha256": net.digest, "data": data.name, "method": cfg.method, "threads": cfg.threads}
    _write_results(cfg, about, rows, selected, file)
    return rows[selected]["acc"]


def _write_results(cfg: DictConfig, about: dict, rows: list[dict], selected: int, file: Path) -> None:
    from src.compression.table import compression_table, remarks

    folder, name = output_folder(), rows[selected]["name"]
    write_json(folder / "results.json", {**about, "kept": name, "rows": rows})
    log.info("\n%s\n", compression_table(rows))
    for row in rows[1:]:
        log.info("%s (made in %s s)\n  %s", row["name"], f"{row['seconds']:,.0f}", "\n  ".join(remarks(rows[0], row)))
    if cfg.figures:
        from src.compression.figures import write_compression_figure

        write_compression_figure(folder / "figures" / "compression.png", rows)
    reason = f"the smallest that loses at most {100 * cfg.tolerance:g} points on validation images, else the best there"
    log.info("\nkept: %s%s, in %s", name, f", {reason}" if len(rows) > 2 else "", display_path(file))
    trust = "".join(f" {word}" for word in trust_words(None if cfg.method == "int8" else cfg.trust))
    log.info("  evaluate  python -m src.evaluate ckpt=%s%s", display_path(folder), trust)


def _check_options(cfg: DictConfig, typed: Collection[str] = ()) -> None:
    """Raise InputError for options that cannot be used, before torch is imported. typed: keys on the command line."""
    require(cfg.method is not None, f"method is missing: give method=<one of {', '.join(METHOD_KEYS)}>")
    choice("method", cfg.method, METHOD_KEYS)
    for method, key in METHOD_KEYS.items():
        unused = method != cfg.method and any(word.split(".")[0] == key for word in typed)
        require(not unused, f"{key} is for method={method}: leave it out")
    for key in ("epochs", "lr", "train", "seed") if cfg.method == "int8" else ():
        require(key not in typed, f"{key} is about training, and method=int8 trains nothing: leave it out")
    for key in ("sparsity", "keep"):
        values = cfg[key] if isinstance(cfg[key], ListConfig) else [cfg[key]]
        require(len(values) > 0, f"{key}=[]: give at least one share")
        for value in values:
            number(key, value, above=0, below=1)
    models = sorted(file.stem for file in (CONF / "model").glob("*.yaml"))
    no_student = cfg.method == "distill" and cfg.model._target_ is None
    require(not no_student, f"method=distill: give model=<one of {', '.join(models)}>")
    positive_int("images", cfg.images)
    positive_int("epochs", cfg.epochs, optional=True)
    number("lr", cfg.lr, above=0, optional=True)
    number("tolerance", cfg.tolerance, 0, below=1)
    positive_int("turns", cfg.turns, most=1000)
    integer("seed", cfg.seed, 0, 2**32 - 1)
    check_threads(cfg.threads)
    require(cfg.threads is not None, "threads=null: measuring needs a number of threads, such as 1")
    boolean("figures", cfg.figures)
    mapping = cfg.train is None or isinstance(cfg.train, DictConfig)
    require(mapping, f"train={cfg.train}: keys of src.train, such as {{optimizer.lr:1e-3}}")
    refused = [key for key in map(str, cfg.train or ()) if key.split(".")[0] in KEYS_OF_COMPRESS]
    require(not refused, f"train: leave {', '.join(refused)} out: ckpt, method and model say it")
    text("base", cfg.base, "a file or a run's folder", optional=True)
    require(cfg.data._target_ is None, "compress works with the data of the checkpoint: leave data=<name> out")


def _make_candidate(name: str, net: "InferenceModel", seconds: float = 0.0) -> "Candidate":
    from src.compression.candidates import Candidate, try_onnx_export
    from src.compression.measure import slim_checkpoint_bytes

    return Candidate(name, net, slim_checkpoint_bytes(net), try_onnx_export(net), seconds)


def _train(cfg: DictConfig, net: "InferenceModel", path: Path, value: float | dict, folder: Path) -> "Candidate":
    from src.compression.train_overrides import training_overrides
    from src.model_files.checkpoint import load_model
    from src.training.fit import train

    started, name = time.perf_counter(), f"{METHOD_KEYS[cfg.method]} {value}"
    if cfg.method == "distill":
        name = value["_target_"].rpartition(".")[2]
    run_folder = folder / "train" / name.replace(" ", "_")
    overrides = training_overrides(CONF, net.config, path.resolve(), cfg.method, value, cfg.epochs, cfg.lr)
    overrides += [f"++data.{k}={hydra_literal(v)}" for k, v in to_plain(cfg.data).items() if v is not None]
    overrides += [f"seed={cfg.seed}", "logger=none", "figures=false", "test=false"]
    overrides += [f"{k}={hydra_literal(v)}" for k, v in to_plain(cfg.train or OmegaConf.create()).items()]
    log.info("%s: %s\n", name, command_text("train", overrides))
    train_cfg = load_config([*overrides, f"run_name={run_folder.name}"], output_dir=run_folder)
    run_folder.mkdir(parents=True, exist_ok=True)
    try:
        train(train_cfg, overrides)
    except InputError as error:
        raise InputError(_with_typed_keys(str(error), cfg.method)) from None
    files = [run_folder / "checkpoints" / file for file in ("best.ckpt", "last.ckpt")]
    saved = [file for file in files if file.is_file()]
    require(bool(saved), "training saved nothing: see train={...}")
    return _make_candidate(name, load_model(saved[0]), time.perf_counter() - started)


def _with_typed_keys(message: str, method: str) -> str:
    """An error of src.train that names the keys of this command."""
    key = METHOD_KEYS[method]
    return message.replace(f"finetune.{key}=", f"{key}=").replace("optimizer.lr=", "lr=")


def _quantize(cfg: DictConfig, before: "Candidate", data: "ImageData", file: Path) -> "Candidate":
    import torch

    from src.compression.candidates import Candidate
    from src.model_files.onnx import parse_onnx
    from src.model_files.quantize import quantize

    require_packages("export", "onnx", "onnxruntime")
    if before.onnx is None:
        raise InputError("method=int8: this network cannot be exported as ONNX")
    started, count = time.perf_counter(), min(cfg.images, len(data.train_set))
    rows = torch.linspace(0, len(data.train_set) - 1, count).long()
    content = quantize(before.onnx, data.train_set[rows][0].numpy())
    net = parse_onnx(content, file, cfg.threads)
    return Candidate("int8", net, content, content, time.perf_counter() - started, quantized=True)


if __name__ == "__main__":
    main()
