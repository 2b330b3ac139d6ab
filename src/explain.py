"""Explain a network: python -m src.explain ckpt=<run, file or newest> [images=...], or model=<name> for a summary"""

import logging
import time
from collections.abc import Collection

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig

from src.cli import inputs
from src.cli.command import command
from src.cli.config import instantiate, to_plain
from src.cli.imports import import_torchmetrics
from src.cli.job_record import output_folder
from src.cli.process import check_threads, set_threads, tune_process
from src.errors import InputError, boolean, choice, integer, number, positive_int, require, text
from src.files import OUTPUTS, display_path
from src.model_files.locate import find_checkpoint

log = logging.getLogger(__name__)
SEARCH_BUDGET = 1e11  # multiply-adds for the features of training images: about 10 s on two cores
MIN_SEARCHED = 200  # training images that are searched at any cost
LARGEST = {"channels": 64, "size": 1024, "num_classes": 100_000}  # for a summary without ckpt
# Copies from `src.insight.explain_batch` and `src.insight.attribution`, which import torch; a test compares them.
WHICH = ("worst", "best", "random", "uncertain")
METHODS = ("saliency", "integrated_gradients", "smooth_grad", "grad_cam", "occlusion")


@command("explain")
def main(cfg: DictConfig) -> None:
    """Explain the predictions of a checkpoint, or summarize a model."""
    check(cfg, {word.lstrip("+").partition("=")[0] for word in HydraConfig.get().overrides.task})
    if cfg.ckpt is None:
        summarize_model(cfg)
    else:
        explain_predictions(cfg)


def check(cfg: DictConfig, typed: Collection[str] = ()) -> None:
    """Raise InputError for options that are invalid or exclude each other; does not import torch.

    typed: the keys on the command line, as the default of a key may equal its typed value.
    """
    for key, most in LARGEST.items():
        positive_int(key, cfg[key], most, optional=True)
        require(cfg[key] is None or cfg.ckpt is None, f"{key} is for a summary without ckpt: leave it out")
    positive_int("n", cfg.n, 64, unit="images")
    for key, least, most in (("steps", 1, 4096), ("samples", 1, 4096), ("neighbours", 0, 20), ("seed", 0, 2**32 - 1)):
        integer(key, cfg[key], least, most)
    check_threads(cfg.threads)
    inputs.check_device(cfg.device)
    for key in ("patch_px", "searched"):
        positive_int(key, cfg[key], optional=True)
    number("noise", cfg.noise, 0, 2)
    for key in ("class_images", "figures"):
        boolean(key, cfg[key])
    choice("split", cfg.split, inputs.SPLITS)
    require(cfg.images is None or cfg.index is None, "index is about a split: give images or index, not both")
    choice("which", cfg.which, WHICH)
    for key, other in (("which", "images"), ("split", "images"), ("which", "index"), ("n", "index")):
        require(key not in typed or cfg[other] is None, f"{key} and {other} exclude each other: leave one of them out")
    if cfg.images is not None:
        inputs.picture_patterns(cfg.images)
    methods = list(cfg.methods) if isinstance(cfg.methods, ListConfig) else [cfg.methods]
    unknown = [name for name in methods if name is not None and name not in METHODS]
    known = f"one or more of {', '.join(METHODS)}, or null for all"
    require(bool(methods) and not unknown, f"methods={unknown[0] if unknown else '[]'}: {known}")
    if cfg.ckpt is None and cfg.model._target_ is None:
        raise InputError("nothing to explain: give ckpt=<run, file or newest>, or model=lenet for a summary alone")
    for key in ("images", "index", "methods", "layer", "target", "base", "n", "split", "which"):
        absent = key not in typed if key in ("n", "split", "which") else cfg[key] is None
        require(absent or cfg.ckpt is not None, f"{key} needs a trained network: give ckpt=<run, file or newest>")
    require(cfg.model._target_ is None or cfg.ckpt is None, "a checkpoint has its own network: leave model out")
    text("base", cfg.base, "a file or a run's folder", optional=True)
    text("layer", cfg.layer, "the name of a layer", optional=True)


def summarize_model(cfg: DictConfig) -> None:
    """Write a summary of model=<name> to results.json, to the terminal and as a figure."""
    from src.files import write_json
    from src.insight.outputs import write_architecture
    from src.insight.summary import summarize, summary_table

    shape = (cfg.channels or 1, cfg.size or 28, cfg.size or 28)
    random = {"weights": None} if cfg.model.get("weights") else {}  # a summary needs no values
    try:
        model = instantiate(cfg.model, "model", shape=shape, num_classes=cfg.num_classes or 10, **random)
    except InputError as error:
        raise InputError(str(error).replace("data.size", "size")) from None
    summary, folder = summarize(model, shape), output_folder()
    write_json(folder / "results.json", {"summary": summary.plain()})
    if cfg.figures:
        write_architecture(folder, summary)
    written = "results.json" + (" and figures/architecture.png" if cfg.figures else "")
    log.info("%s\n\n%s in %s", summary_table(summary), written, display_path(folder))


def explain_predictions(cfg: DictConfig) -> None:
    """Explain a checkpoint's predictions for some images, and write results.json, arrays.npz and figures/."""
    path = find_checkpoint(cfg.ckpt, OUTPUTS)
    base = find_checkpoint(cfg.base, OUTPUTS, key="base") if cfg.base else None

    import_torchmetrics(cfg)
    from src.insight import explain_batch
    from src.insight.explanation import explanation_table, image_records
    from src.insight.features import conv_filters
    from src.insight.outputs import write_architecture, write_arrays, write_explanation, write_explanation_figures
    from src.insight.summary import abbreviate, summarize
    from src.model_files.load import load_predictor, require_weights

    started = time.perf_counter()
    tune_process()
    set_threads(cfg.threads)
    net = require_weights(load_predictor(path, base), "explain")
    views, net.views = net.views, 1  # maps of shifted views would be blurred
    explain_batch.check_layer(cfg.layer, net.model)
    net = net.to(inputs.select_device(cfg.device))
    summary = summarize(net.model, net.info.shape)
    requested = [cfg.methods] if isinstance(cfg.methods, str) else cfg.methods and list(cfg.methods)
    methods, layer = explain_batch.select_methods(requested, net.model, cfg.layer, summary)
    explanation = start_explanation(cfg, net)
    options = {
        "integrated_gradients": {"steps": cfg.steps},
        "smooth_grad": {"samples": cfg.samples, "noise": cfg.noise, "seed": cfg.seed},
        "occlusion": {"patch_px": cfg.patch_px},
    }
    explain_batch.add_attributions(explanation, net, methods, layer, options)
    kinds = explain_batch.add_feature_maps(explanation, net, summary, cfg.layer)
    explanation.filters = conv_filters(net.model, net.info.shape)
    if cfg.class_images:
        explain_batch.add_class_images(explanation, net, cfg.seed)
    train_split = search_neighbors(cfg, net, summary, explanation) if cfg.neighbours else None

    folder = output_folder()
    origin = {"ckpt": str(path), "sha256": net.digest, "epoch": net.epoch}
    origin |= {"views": f"one look of {views}"} if views > 1 else {}
    write_explanation(folder / "results.json", origin, explanation, summary, net.info)
    write_arrays(folder / "arrays.npz", explanation)
    if cfg.figures:
        write_architecture(folder, summary)
        write_explanation_figures(folder, explanation, net, kinds, cfg.layer, train_split)
    totals = f"{summary.parameters:,} parameters, {abbreviate(summary.multiply_adds)} multiply-adds per image"
    log.info("%s, weights of epoch %d: %s, %s\n", display_path(path), net.epoch, summary.model, totals)
    if views > 1:
        log.info("one view of %d: predictions and maps are those of the unchanged image\n", views)
    log.info("%s", explanation_table(image_records(explanation, net.info)))
    written = "results.json, arrays.npz and figures/" if cfg.figures else "results.json and arrays.npz"
    log.info("\n%.1f s; %s in %s", time.perf_counter() - started, written, display_path(folder))


def start_explanation(cfg: DictConfig, net):
    """An `Explanation` of the images: the outputs for them and the columns to explain."""
    from src.insight.explanation import Explanation
    from src.models.structure import predict_logits

    if cfg.images is None:
        fields = split_inputs(cfg, net)
    else:
        images, names, ink, left_out = inputs.read_pictures(cfg, net)
        if left_out:
            log.info("%s", left_out)
        if ink:
            log.info("ink brought to MNIST's form; ink=none reads pictures as they are")
        fields = {"images": images, "names": names, "origin": {"ink": "mnist" if ink else "none"}}
    fields["images"] = fields["images"].to(next(net.parameters()).device)
    outputs = predict_logits(net, fields["images"]).float().cpu()
    targets = inputs.target_columns(to_plain(cfg)["target"], outputs, fields.get("labels"), net.info)
    return Explanation(outputs=outputs, temperature=net.temperature, targets=targets, **fields)


def split_inputs(cfg: DictConfig, net) -> dict:
    """Images of a split by `index` or `which`, as fields of an `Explanation`."""
    from src.evaluation.evaluate import predict
    from src.insight.explain_batch import select_images

    data = inputs.build_data(cfg, net.config["data"])
    batches = inputs.select_split(data, cfg.split, net)
    if cfg.index is not None:
        index = rows_of_files(to_plain(cfg)["index"], batches.files)
        positions = inputs.positions_of_rows(index, batches.indices, len(batches.labels), cfg.split)
    else:
        outputs, labels = None, batches.labels[batches.indices]
        if cfg.which != "random":
            outputs, labels = predict(net, data.loader(batches), next(net.parameters()).device)
            outputs = outputs / (net.temperature or 1.0)  # ordered by the probabilities that are shown
        positions = select_images(cfg.which, cfg.n, outputs, labels, net.info, cfg.seed)
    images, labels = batches[positions]
    rows, files = batches.indices[positions].tolist(), batches.files
    selection = {"index": rows} if cfg.index is not None else {"which": cfg.which}
    return {
        "images": images,
        "labels": labels,
        "names": [f"{cfg.split} row {row}" if files is None else files[row] for row in rows],
        "rows": rows,
        "train_positions": positions if cfg.split == "train" and cfg.data._target_ is None else None,
        "origin": {"data": data.name, "split": cfg.split, **selection},
    }


def rows_of_files(index, files: tuple[str, ...] | None):
    """`index` with every file among it replaced by its row. Raises InputError for a file that is not in `files`."""
    wanted = index if isinstance(index, list | tuple) else [index]
    if files is None or not any(isinstance(one, str) for one in wanted):
        return index
    rows = {file: row for row, file in enumerate(files)}
    for file in (one for one in wanted if isinstance(one, str) and one not in rows):
        raise InputError(f"index={file}: no picture of this split; give its path below data.root, such as {files[0]}")
    return [rows[one] if isinstance(one, str) else one for one in wanted]


def search_neighbors(cfg: DictConfig, net, summary, explanation):
    """Find the nearest images of the network's own training split; returns the split, None if it cannot be read."""
    import torch

    from src.insight.explain_batch import add_neighbors

    changes = {key: value for key, value in to_plain(cfg.data).items() if value is not None}
    if cfg.data._target_ is not None or cfg.images is not None:  # a search downloads nothing
        changes = {"download": False} | (changes if cfg.data._target_ is None else {})
    try:
        split = inputs.select_split(inputs.data_as_trained(net.config["data"], changes), "train", net)
        affordable = max(MIN_SEARCHED, int(SEARCH_BUDGET / max(1, summary.multiply_adds)))
        count = min(len(split), cfg.searched or affordable)
        searched = torch.linspace(0, len(split) - 1, count).round().long()
        add_neighbors(explanation, net, cfg.neighbours, split, searched)
    except InputError as error:
        log.info("no nearest training images: %s", error)
        return None
    return split


if __name__ == "__main__":
    main()
