"""Make a trained network smaller or faster: python -m src.compress ckpt=<run, file or newest> method=<method>"""

import logging
import time
from collections.abc import Collection
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf

from src.cli.command import command, output_folder
from src.cli.config import CONF, ROOT, to_plain
from src.cli.inputs import build_data, select_split
from src.cli.process import check_threads, tune_process
from src.errors import InputError, is_integer, is_number, require, require_packages
from src.files import display_path
from src.model_files.locate import find_checkpoint

log = logging.getLogger(__name__)
VALUES = {"prune": "sparsity", "channels": "keep", "int8": "images", "distill": "model"}  # the key of each method
SAID = ("init_from", "resume_from", "output_dir", "run_name", "model", "sweep")  # by other keys than train
TRAINING = ("epochs", "lr", "train", "seed")


@command("compress")
def main(cfg: DictConfig) -> float:
    """One method on one network, before and after in one table. Returns the accuracy of what is kept."""
    check(cfg, {word.lstrip("+").partition("=")[0] for word in HydraConfig.get().overrides.task})
    path = find_checkpoint(cfg.ckpt, ROOT / "outputs")
    base = find_checkpoint(cfg.base, ROOT / "outputs", key="base") if cfg.base else None

    from src.compression.candidates import Candidate, choose_candidate, measure_candidates, try_onnx_export, validate
    from src.compression.size import slim_checkpoint_bytes
    from src.compression.table import compression_table, remarks
    from src.files import write_bytes, write_json
    from src.model_files.load import load_predictor, require_weights

    tune_process()
    folder, net = output_folder(), load_predictor(path, base)
    require_weights(net, f"method={cfg.method}")
    require(not net.info.target, f"{net.info.target} is a number: compress compares how many classes are right")
    data = build_data(cfg, net.config["data"])
    batches = select_split(data, "test", net.info)
    data.setup()
    kept = folder / ("int8.onnx" if cfg.method == "int8" else "checkpoints/best.ckpt")
    made = [Candidate("before", net, slim_checkpoint_bytes(net), try_onnx_export(net))]
    if cfg.method == "int8":
        made.append(quantised(cfg, made[0], data, kept))
    else:
        for value in listed(to_plain(cfg)[VALUES[cfg.method]]):
            made.append(trained(cfg, net, path, value, folder))
    scores = validate(made, data)
    chosen = choose_candidate(made, scores, cfg.tolerance)
    kept.parent.mkdir(exist_ok=True)
    write_bytes(kept, made[chosen].file)
    rows = measure_candidates(made, scores, data, batches, cfg.threads, cfg.turns)

    about = {"ckpt": str(path), "sha256": net.digest, "data": data.name, "method": cfg.method, "threads": cfg.threads}
    write_json(folder / "results.json", {**about, "kept": made[chosen].name, "rows": rows})
    log.info("\n%s\n", compression_table(rows))
    for row in rows[1:]:
        log.info("%s (%s s of work)\n  %s", row["name"], f"{row['seconds']:,.0f}", "\n  ".join(remarks(rows[0], row)))
    if cfg.figures:
        from src.compression.figures import write_comparison

        write_comparison(folder / "figures" / "compression.png", rows)
    why = f", the smallest that loses at most {100 * cfg.tolerance:g} points on validation images, else the best there"
    log.info("\nkept: %s%s, in %s", made[chosen].name, why if len(made) > 2 else "", display_path(kept))
    log.info("  evaluate  python -m src.evaluate ckpt=%s", display_path(folder))
    return rows[chosen]["acc"]


def check(cfg: DictConfig, given: Collection[str] = ()) -> None:
    """Raise InputError for values that make no sense, before anything is loaded; torch is not. given: typed keys."""
    require(cfg.method is not None, f"method is missing: give method=<one of {', '.join(VALUES)}>")
    require(isinstance(cfg.method, str) and cfg.method in VALUES, f"method={cfg.method}: one of {', '.join(VALUES)}")
    for method, key in VALUES.items():
        typed = any(word.split(".")[0] == key for word in given)
        require(not typed or method == cfg.method, f"{key} is for method={method}: leave it out")
    for key in TRAINING if cfg.method == "int8" else ():
        require(key not in given, f"{key} is about training, and method=int8 trains nothing: leave it out")
    for key in ("sparsity", "keep"):
        values = listed(cfg[key])
        good = bool(values) and all(is_number(value) and 0 < value < 1 for value in values)
        require(good, f"{key}={cfg[key]}: above 0, below 1, or a list of such shares")
    models = sorted(file.stem for file in (CONF / "model").glob("*.yaml"))
    student = cfg.model._target_ is not None
    require(student or cfg.method != "distill", f"method=distill: give model=<one of {', '.join(models)}>")
    require(is_integer(cfg.images) and cfg.images >= 1, f"images={cfg.images}: a whole number of at least 1")
    good = cfg.epochs is None or (is_integer(cfg.epochs) and cfg.epochs >= 1)
    require(good, f"epochs={cfg.epochs}: a whole number of at least 1, or null")
    require(cfg.lr is None or (is_number(cfg.lr) and cfg.lr > 0), f"lr={cfg.lr}: above 0, or null")
    require(is_number(cfg.tolerance) and 0 <= cfg.tolerance < 1, f"tolerance={cfg.tolerance}: 0 to below 1")
    require(is_integer(cfg.turns) and 1 <= cfg.turns <= 1000, f"turns={cfg.turns}: a whole number, 1 to 1000")
    require(is_integer(cfg.seed) and 0 <= cfg.seed < 2**32, f"seed={cfg.seed}: a whole number, 0 to {2**32 - 1}")
    check_threads(cfg.threads)
    require(cfg.threads is not None, "threads=null: measuring needs a number of threads, such as 1")
    require(isinstance(cfg.figures, bool), f"figures={cfg.figures}: true or false")
    require(
        isinstance(cfg.train, DictConfig | None), f"train={cfg.train}: keys of src.train, such as {{optimizer.lr:1e-3}}"
    )
    refused = [key for key in map(str, cfg.train or ()) if key.split(".")[0] in SAID or key == "finetune"]
    require(not refused, f"train: leave {', '.join(refused)} out: ckpt, method and model say it")
    require(cfg.base is None or isinstance(cfg.base, str), f"base={cfg.base}: a file or a run's folder")
    require(cfg.data._target_ is None, "compress works with the data of the checkpoint: leave data=<name> out")


def listed(value: object) -> list:
    """A value, or each of a list, the weakest compression first."""
    if not isinstance(value, ListConfig | list):
        return [value]
    return list(value)


def composed(words: list[str]) -> DictConfig:
    """The config of src.train with these overrides."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("train", words)
    finally:
        GlobalHydra.instance().initialize(running)


def trained(cfg: DictConfig, net, path: Path, value: float | dict, folder: Path):
    """What training with a method makes of a network, as `Made`; the run is in train/<value>."""
    from src.compression.candidates import Candidate, try_onnx_export
    from src.compression.size import slim_checkpoint_bytes
    from src.compression.train_overrides import text, training_overrides
    from src.model_files.checkpoint import load_model
    from src.training.fit import train

    begun, name = time.perf_counter(), f"{VALUES[cfg.method]} {value}"
    if cfg.method == "distill":
        name = value["_target_"].rpartition(".")[2]
    place = folder / "train" / name.replace(" ", "_")
    words = training_overrides(CONF, net.config, path.resolve(), cfg.method, value, cfg.epochs, cfg.lr)
    words += [f"++data.{key}={text(entry)}" for key, entry in to_plain(cfg.data).items() if entry is not None]
    words += [f"seed={cfg.seed}", "logger=none", "figures=false", "test=false"]
    words += [f"{key}={text(entry)}" for key, entry in to_plain(cfg.train or OmegaConf.create()).items()]
    log.info("%s: python -m src.train %s\n", name, " ".join(words))
    inner = composed([*words, f"output_dir={text(str(place))}", f"run_name={place.name}"])
    place.mkdir(parents=True, exist_ok=True)
    try:
        train(inner, words)
    except InputError as error:
        raise InputError(as_typed(str(error), cfg.method)) from None
    file = next((f for f in (place / "checkpoints" / n for n in ("best.ckpt", "last.ckpt")) if f.is_file()), None)
    if file is None:
        raise InputError("training saved nothing: see train={...}")
    after = load_model(file)
    return Candidate(name, after, slim_checkpoint_bytes(after), try_onnx_export(after), time.perf_counter() - begun)


def as_typed(message: str, method: str) -> str:
    """What training says of a key of src.train, about the key of this command that stands for it."""
    key = VALUES[method]
    return message.replace(f"finetune.{key}=", f"{key}=").replace("optimizer.lr=", "lr=")


def quantised(cfg: DictConfig, before, data, kept: Path):
    """The network in 8 bits, calibrated on training images, as `Made`."""
    import torch

    from src.compression.candidates import Candidate
    from src.model_files.onnx import parse_onnx
    from src.model_files.quantize import quantize

    require_packages("export", "onnx", "onnxruntime")
    require(before.onnx is not None, "method=int8: this network cannot be exported as ONNX")
    begun, count = time.perf_counter(), min(cfg.images, len(data.train_set))
    rows = torch.linspace(0, len(data.train_set) - 1, count).long()
    content = quantize(before.onnx, data.train_set[rows][0].numpy())
    net = parse_onnx(content, kept, cfg.threads)
    return Candidate("int8", net, content, content, time.perf_counter() - begun, quantised=True)


if __name__ == "__main__":
    main()
