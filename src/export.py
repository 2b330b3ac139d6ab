"""A network as a file for other programs: python -m src.export ckpt=<run> format=onnx|torch_export|safetensors"""

import logging
import os
import time
from pathlib import Path

from omegaconf import DictConfig

from src.cli.command import command, output_folder
from src.cli.config import ROOT
from src.cli.inputs import build_data, select_split
from src.cli.process import check_threads, set_threads, tune_process
from src.errors import InputError, is_integer, require
from src.files import display_path
from src.model_files.locate import find_checkpoint

log = logging.getLogger(__name__)
FORMATS = {"onnx": ".onnx", "torch_export": ".pt2", "safetensors": ".safetensors"}


@command("export")
def main(cfg: DictConfig) -> None:
    """Write the file, read it back, compare it with the network over the whole test set, and only then leave it."""
    check(cfg)
    path = find_checkpoint(cfg.ckpt, ROOT / "outputs")
    base = find_checkpoint(cfg.base, ROOT / "outputs", key="base") if cfg.base else None

    from src.files import digest_of, write_bytes, write_json
    from src.model_files.load import load_predictor, require_weights

    tune_process()
    set_threads(cfg.threads)
    net = load_predictor(path, base)
    require_weights(net, "export")
    require(cfg.views != 5 or not net.info.target, f"{net.info.target} is a number: leave views out")
    net.views = cfg.views or net.views
    batches, where = test_images(cfg, net)

    started = time.perf_counter()
    content = write(net, cfg)
    seconds = {"export": round(time.perf_counter() - started, 2)}
    file = Path(cfg.file).expanduser() if cfg.file else output_folder() / f"{name_of(net)}{FORMATS[cfg.format]}"
    part = file.with_name(f".{file.stem}.{os.getpid()}{file.suffix}")
    started = time.perf_counter()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(part, content)
        compared = {"on": where, **compare_with(part, content, net, batches, cfg)}
        require(compared["same"], f"nothing is left: the file does not answer as the network does ({said(compared)})")
        require(cfg.overwrite or not file.exists(), f"file={file} is there: give overwrite=true, or another file")
        os.replace(part, file)
    except OSError as error:
        raise InputError(f"{file} cannot be written ({error.strerror}): give file=<path>") from None
    finally:
        part.unlink(missing_ok=True)
    seconds["compare"] = round(time.perf_counter() - started, 2)

    about = {"ckpt": str(path), "sha256": net.digest, "epoch": net.epoch, "format": cfg.format, "views": net.views}
    about |= {"temperature": net.temperature, "file": str(file.resolve()), "file_sha256": digest_of(file)}
    write_json(
        output_folder() / "results.json", {**about, "bytes": len(content), "seconds": seconds, "compared": compared}
    )
    log.info("%s, weights of epoch %d, as %s", display_path(path), net.epoch, display_path(file.resolve()))
    log.info("size      %s KiB", f"{len(content) / 1024:,.1f}")
    log.info("written   in %.1f s, compared in %.1f s", seconds["export"], seconds["compare"])
    log.info("compared  %s", said(compared))
    for verb, more in (("predict", " images=<files>"), ("evaluate", ""), ("serve", "")):
        log.info("%-9s python -m src.%s ckpt=%s%s", verb, verb, display_path(file.resolve()), more)


def check(cfg: DictConfig) -> None:
    """Raise InputError for values that make no sense, before anything is loaded."""
    require(cfg.format in FORMATS, f"format={cfg.format}: one of {', '.join(FORMATS)}")
    for key in ("check", "overwrite"):
        require(isinstance(cfg[key], bool), f"{key}={cfg[key]}: true or false")
    for key in ("base", "file"):
        require(cfg[key] is None or isinstance(cfg[key], str), f"{key}={cfg[key]}: a path, or null")
    check_threads(cfg.threads)
    require(cfg.views in (None, 1, 5), f"views={cfg.views}: 1, 5 or null")
    opset = f"opset={cfg.opset}: a whole number, with format=onnx"
    require(cfg.opset is None or (is_integer(cfg.opset) and cfg.format == "onnx"), opset)
    if cfg.file:
        file, wanted = Path(cfg.file).expanduser(), FORMATS[cfg.format]
        require(file.suffix.lower() == wanted, f"file={cfg.file}: format={cfg.format} ends in {wanted}")
        require(not file.is_dir(), f"file={cfg.file} is a folder: give a file in it")
        require(cfg.overwrite or not file.exists(), f"file={cfg.file} is there: give overwrite=true, or another file")


def test_images(cfg: DictConfig, net):
    """What to compare on: a function that gives batches of images, and its name. Raises InputError if the test set
    cannot be read; with check=false there are random images."""
    from src.model_files.verify import random_images

    if not cfg.check:
        return lambda: random_images(net.info.shape), "noise and grey blocks, of no data set (check=false)"
    try:
        data = build_data(cfg, net.config["data"])
        batches = select_split(data, "test", net.info)
    except InputError as error:
        raise InputError(f"{error}; or give check=false: the file is then compared on random images only") from None
    return lambda: (images for images, _ in data.loader(batches)), f"the test split of {data.name}"


def write(net, cfg: DictConfig) -> bytes:
    """The file's content."""
    if cfg.format == "onnx":
        from src.model_files.onnx import onnx_bytes

        return onnx_bytes(net, cfg.opset)
    if cfg.format == "torch_export":
        from src.model_files.torch_export import torch_export_bytes

        return torch_export_bytes(net)
    from src.model_files.safetensors import safetensors_bytes

    return safetensors_bytes(net)


def compare_with(part: Path, content: bytes, net, batches, cfg: DictConfig) -> dict:
    """The file as commands read it, and for torch_export also the graph in it, beside the network."""
    from src.model_files.load import load_predictor
    from src.model_files.verify import compare_outputs, outputs_of

    others = {"read back": outputs_of(load_predictor(part, threads=cfg.threads))}
    if cfg.format == "torch_export":
        from src.model_files.torch_export import exported_graph

        others["its graph"] = exported_graph(content)
    return compare_outputs(net, others, batches())


def said(compared: dict) -> str:
    """A comparison in words."""
    first = "value" if "value" in compared else "probabilities"
    text = f"{compared['images']:,} images of {compared['on']}"
    if compared["changed"] is not None:
        text += f": {compared['changed'] or 'no'} decision{'s' if compared['changed'] != 1 else ''} changed"
    off = "value / scale" if first == "value" else first
    return f"{text}; largest difference {compared[first]:.1e} of {off}, {compared['logits']:.1e} of logits"


def name_of(net) -> str:
    """What the file is called: the network and the data it was trained on."""
    model = str(net.config["model"].get("_target_", "model")).rpartition(".")[2].lower()
    return f"{model}_{net.config['data'].get('name', 'data')}"


if __name__ == "__main__":
    main()
