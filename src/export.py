"""A network as one file for other programs: python -m src.export ckpt=<run> format=onnx|torch_export|safetensors"""

import logging
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from src.cli.command import command
from src.cli.imports import import_torchmetrics
from src.cli.inputs import build_data, select_split
from src.cli.job_record import output_folder
from src.cli.overrides import trust_words
from src.cli.process import check_threads, set_threads, tune_process
from src.errors import InputError, boolean, choice, integer, require, text
from src.files import OUTPUTS, digest_of, display_path, write_bytes, write_json
from src.model_files.locate import find_checkpoint

if TYPE_CHECKING:
    from torch import Tensor

    from src.inference.model import InferenceModel

log = logging.getLogger(__name__)
FORMATS = {"onnx": ".onnx", "torch_export": ".pt2", "safetensors": ".safetensors"}


@command("export")
def main(cfg: DictConfig) -> None:
    """Write the file, compare it with the network on the whole test set, and keep it only if both compute the same."""
    _check_options(cfg)
    path = find_checkpoint(cfg.ckpt, OUTPUTS)
    base = find_checkpoint(cfg.base, OUTPUTS, key="base") if cfg.base else None

    import_torchmetrics(cfg)
    from src.model_files.load import load_predictor, require_weights
    from src.model_files.onnx import onnx_bytes
    from src.model_files.safetensors import safetensors_bytes
    from src.model_files.torch_export import torch_export_bytes

    tune_process()
    set_threads(cfg.threads)
    net = require_weights(load_predictor(path, base), "export")
    if cfg.views == 5:
        net.info.output.require_classes("views=5", "leave views out")
    net.views = cfg.views or net.views
    batches, where = _test_batches(cfg, net)

    started = time.perf_counter()
    if cfg.format == "onnx":
        content = onnx_bytes(net, cfg.opset)
    else:
        content = safetensors_bytes(net) if cfg.format == "safetensors" else torch_export_bytes(net)
    exported = time.perf_counter()
    model = str(net.config["model"].get("_target_", "model")).rpartition(".")[2].lower()
    default = f"{model}_{net.config['data'].get('name', 'data')}{FORMATS[cfg.format]}"
    file = Path(cfg.file).expanduser() if cfg.file else output_folder() / default
    compared = {"on": where, **_write_verified(file, content, net, batches, cfg)}
    seconds = {"export": round(exported - started, 2), "compare": round(time.perf_counter() - exported, 2)}

    file = file.resolve()
    about = {"ckpt": str(path), "sha256": net.digest, "epoch": net.epoch, "format": cfg.format, "views": net.views}
    about |= {"temperature": net.temperature, "file": str(file), "file_sha256": digest_of(file)}
    results = {**about, "bytes": len(content), "seconds": seconds, "compared": compared}
    write_json(output_folder() / "results.json", results)
    log.info("%s, weights of epoch %d, as %s", display_path(path), net.epoch, display_path(file))
    log.info("size      %s KiB", f"{len(content) / 1024:,.1f}")
    log.info("written   in %.1f s, compared in %.1f s", seconds["export"], seconds["compare"])
    log.info("compared  %s images of %s: %s", f"{compared['images']:,}", where, _differences(compared))
    trust = " ".join(["", *trust_words(None if cfg.format == "onnx" else cfg.trust)])
    for verb, more in (("predict", " images=<files>"), ("evaluate", ""), ("serve", "")):
        log.info("%-9s python -m src.%s ckpt=%s%s%s", verb, verb, display_path(file), trust, more)


def _check_options(cfg: DictConfig) -> None:
    """Raise InputError for options that cannot be used, before torch is imported."""
    choice("format", cfg.format, FORMATS)
    for key in ("check", "overwrite"):
        boolean(key, cfg[key])
    for key in ("base", "file"):
        text(key, cfg[key], "a path", optional=True)
    check_threads(cfg.threads)
    choice("views", cfg.views, (1, 5), optional=True)
    integer("opset", cfg.opset, optional=True)
    require(cfg.opset is None or cfg.format == "onnx", f"opset={cfg.opset} is for format=onnx: leave it out")
    if cfg.file:
        file, suffix = Path(cfg.file).expanduser(), FORMATS[cfg.format]
        require(file.suffix.lower() == suffix, f"file={cfg.file}: format={cfg.format} ends in {suffix}")
        require(not file.is_dir(), f"file={cfg.file} is a folder: give a file in it")
        _check_overwrite(cfg, file)


def _check_overwrite(cfg: DictConfig, file: Path) -> None:
    require(cfg.overwrite or not file.exists(), f"file={file} exists: give overwrite=true, or another file")


def _test_batches(cfg: DictConfig, net: "InferenceModel") -> tuple[Callable[[], Iterable["Tensor"]], str]:
    """A function that returns the batches of images to compare on, and their name; random images with check=false.

    Raises InputError if the test set cannot be read.
    """
    from src.model_files.verify import random_images

    if not cfg.check:
        return lambda: random_images(net.info.shape), "noise and grey blocks, of no data set (check=false)"
    try:
        data = build_data(cfg, net.config["data"])
        batches = select_split(data, "test", net)
    except InputError as error:
        raise InputError(f"{error}; or give check=false: the file is then compared on random images only") from None
    return lambda: (images for images, _ in data.loader(batches)), f"the test split of {data.name}"


def _write_verified(
    file: Path, content: bytes, net: "InferenceModel", batches: Callable[[], Iterable["Tensor"]], cfg: DictConfig
) -> dict:
    """Write the file beside its place, compare it with the network, rename it; returns `compare_outputs`.

    The file is read as commands read it; for torch_export also the graph in it runs. Raises InputError, and leaves
    nothing, if the outputs differ or the file cannot be written.
    """
    from src.model_files.load import load_predictor
    from src.model_files.torch_export import exported_graph
    from src.model_files.verify import compare_outputs, outputs_of

    part = file.with_name(f".{file.stem}.{os.getpid()}{file.suffix}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(part, content)
        others = {"read back": outputs_of(load_predictor(part, threads=cfg.threads))}
        if cfg.format == "torch_export":
            others["its graph"] = exported_graph(content)
        compared = compare_outputs(net, others, batches())
        require(compared["same"], f"nothing is written: the file and the network differ ({_differences(compared)})")
        _check_overwrite(cfg, file)
        os.replace(part, file)
    except OSError as error:
        raise InputError(f"{file} cannot be written ({error.strerror}): give file=<path>") from None
    finally:
        part.unlink(missing_ok=True)
    return compared


def _differences(compared: dict) -> str:
    changed, name = compared["changed"], "value" if "value" in compared else "probabilities"
    decisions = "" if changed is None else f"{changed or 'no'} decision{'s' * (changed != 1)} changed; "
    unit = "value / scale" if name == "value" else name
    return f"{decisions}largest difference {compared[name]:.1e} of {unit}, {compared['logits']:.1e} of logits"


if __name__ == "__main__":
    main()
