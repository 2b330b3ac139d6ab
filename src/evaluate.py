"""Measure a trained network: python -m src.evaluate ckpt=<run, file or newest> [split=val] [data.root=<folder>]"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from src.cli.command import command
from src.cli.imports import import_torchmetrics
from src.cli.inputs import SPLITS, WHOLE, build_data, check_device, select_device, select_split
from src.cli.job_record import output_folder
from src.cli.process import check_threads, set_threads, tune_process
from src.errors import choice, require, text
from src.files import OUTPUTS, display_path, system_path
from src.model_files.locate import find_checkpoint

if TYPE_CHECKING:
    from src.data.batches import BatchDataset
    from src.data.datamodule import ImageData
    from src.inference.model import Predictor

log = logging.getLogger(__name__)
SEEN = (
    "of these %d images the network was trained on or chosen by %d: figures on them are too good; split=unseen leaves "
    "them out\n"
)


@command("evaluate")
def main(cfg: DictConfig) -> float:
    """Write all metrics and figures of one split. Returns the accuracy, or the mean absolute error."""
    _check_options(cfg)
    path = find_checkpoint(cfg.ckpt, OUTPUTS, int8=True)
    base = find_checkpoint(cfg.base, OUTPUTS, key="base") if cfg.base else None

    import_torchmetrics(cfg)
    from src.data.summary import describe_data, write_skipped
    from src.evaluation.evaluate import compute_metrics, metrics_table, predict
    from src.evaluation.predictions import PREDICTIONS, write_predictions
    from src.files import write_json
    from src.model_files.extra_metrics import stored_metrics
    from src.model_files.load import load_predictor

    tune_process()
    set_threads(cfg.threads)
    net = load_predictor(path, base, cfg.threads)
    _check_network_options(cfg, net)
    net.views = cfg.views or net.views
    data = build_data(cfg, net.config["data"])
    split = cfg.split or default_split(data, net.config["data"])
    batches = select_split(data, split, net)
    device = select_device(cfg.device) if net.engine == "torch" else "cpu"
    logits, labels = predict(net, data.loader(batches), device)
    metrics = compute_metrics(logits, labels, net.info, net.temperature, stored_metrics(net.config, net.info, path))

    folder = output_folder()
    about = {"ckpt": str(path), "sha256": net.digest, "epoch": net.epoch, "data": data.name, "split": split}
    known = count_seen(batches, net)
    write_json(folder / "results.json", {**about, **metrics, **({} if known is None else {"seen_images": known})})
    write_predictions(folder / PREDICTIONS, batches, logits, labels, net.info, net.temperature)
    write_skipped(data, folder)
    if described := describe_data(data, split):
        log.info("%s", described)
    measured = _measured(data, split, len(labels))
    log.info("%s, weights of epoch %d, on %s\n", display_path(path), net.epoch, measured)
    if known and split not in ("train", "val"):
        log.warning(SEEN, len(labels), known)
    log.info("%s", metrics_table(metrics))
    if cfg.figures:
        from src.evaluation.figures import write_evaluation_figures

        write_evaluation_figures(folder / "figures", batches, labels, logits, metrics, net.info)
    written = f"results.json{', ' if cfg.figures else ' and '}{PREDICTIONS}{' and figures/' * cfg.figures}"
    log.info("\n%s in %s", written, display_path(folder))
    return metrics["acc"] if "acc" in metrics else metrics["mae"]


def default_split(data: "ImageData", trained: dict) -> str:
    """test; or all, for a folder of pictures that is not the one the network was trained on.

    trained: the data options in the checkpoint.
    """
    if data.name != "folder":
        return "test"
    roots = [system_path(root or "").expanduser().resolve() for root in (data.root, trained.get("root"))]
    return "test" if trained.get("name") == "folder" and roots[0] == roots[1] else "all"


def count_seen(batches: "BatchDataset", net: "Predictor") -> int | None:
    """How many of the images the network was trained on or chosen by; None where that is not known."""
    from src.data.seen_images import is_seen

    digests = batches.picture_digests
    return None if digests is None or net.seen is None else int(is_seen(digests, net.seen).sum())


def _measured(data: "ImageData", split: str, count: int) -> str:
    """Which images were measured."""
    name = data.name if data.name != "folder" else display_path(Path(data.root or ""))
    if split in WHOLE:
        return f"all {count:,} images of {name}" + ", less those it has seen" * (split == "unseen")
    return f"the {split} split of {name}, {count:,} images"


def _check_options(cfg: DictConfig) -> None:
    """Raise InputError for options that cannot be used, before torch is imported."""
    choice("split", cfg.split, (*SPLITS, *WHOLE), optional=True)
    choice("views", cfg.views, (1, 5), optional=True)
    text("base", cfg.base, "a file or a run's folder", optional=True)
    check_device(cfg.device)
    check_threads(cfg.threads)


def _check_network_options(cfg: DictConfig, net: "Predictor") -> None:
    if cfg.views == 5:
        net.info.output.require_classes("views=5", "leave views out")
    if net.engine == "onnxruntime":
        require(cfg.device in ("auto", "cpu"), f"device={cfg.device}: ONNX files are computed by the CPU here")
        fixed = f"views={cfg.views}: the file was exported with {net.views}: leave views out, or export again"
        require(cfg.views in (None, net.views), fixed)


if __name__ == "__main__":
    main()
