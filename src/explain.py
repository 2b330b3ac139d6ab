"""Look inside a network: python -m src.explain ckpt=<run, file or newest> [images=...], or model=<name> alone"""

import logging
import time
from collections.abc import Collection

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig

from src.cli.command import command, output_folder
from src.cli.config import ROOT, instantiate, to_plain
from src.cli.inputs import (
    SPLITS,
    build_data,
    check_device,
    data_as_trained,
    picture_patterns,
    positions_of_rows,
    read_pictures,
    select_device,
    select_split,
    target_columns,
)
from src.cli.process import check_threads, set_threads, tune_process
from src.errors import InputError, is_integer, is_number, require
from src.files import display_path
from src.model_files.locate import find_checkpoint

log = logging.getLogger(__name__)
BUDGET = 1e11  # multiply-adds for reading training images: about 10 s on two cores
LEAST = 200  # training images that are read at any cost
LARGEST = {"channels": 64, "size": 1024, "num_classes": 100_000}  # of a network alone
# As `src.insight.explain_batch` and `src.insight.attribution` have them, which import torch; a test compares them.
WHICH = ("worst", "best", "random", "uncertain")
METHODS = ("saliency", "integrated_gradients", "smooth_grad", "grad_cam", "occlusion")


@command("explain")
def main(cfg: DictConfig) -> None:
    """A summary of a network alone, or of a checkpoint's also what its answers hang on."""
    check(cfg, {word.lstrip("+").partition("=")[0] for word in HydraConfig.get().overrides.task})
    if cfg.ckpt is None:
        summarise_alone(cfg)
    else:
        explain_answers(cfg)


def check(cfg: DictConfig, given: Collection[str] = ()) -> None:
    """Raise InputError for values that make no sense, before anything is loaded; torch is not.

    given: keys that were typed, for those whose default cannot be told from a value.
    """
    for key, most in LARGEST.items():
        value = cfg[key]
        require(value is None or (is_integer(value) and 1 <= value <= most), f"{key}={value}: 1 to {most:,}, or null")
        require(value is None or cfg.ckpt is None, f"{key} is for a summary without ckpt: leave it out")
    require(is_integer(cfg.n) and 1 <= cfg.n <= 64, f"n={cfg.n}: 1 to 64 images")
    for key, least, most in (("steps", 1, 4096), ("samples", 1, 4096), ("neighbours", 0, 20), ("seed", 0, 2**32 - 1)):
        require(is_integer(cfg[key]) and least <= cfg[key] <= most, f"{key}={cfg[key]}: {least:,} to {most:,}")
    check_threads(cfg.threads)
    check_device(cfg.device)
    for key in ("patch_px", "searched"):
        value = cfg[key]
        require(value is None or (is_integer(value) and value >= 1), f"{key}={value}: at least 1, or null")
    require(is_number(cfg.noise) and 0 <= cfg.noise <= 2, f"noise={cfg.noise}: 0 to 2")
    for key in ("class_images", "figures"):
        require(isinstance(cfg[key], bool), f"{key}={cfg[key]}: true or false")
    require(cfg.split in SPLITS, f"split={cfg.split}: one of {', '.join(SPLITS)}")
    require(cfg.images is None or cfg.index is None, "index is about a split: give images or index, not both")
    require(cfg.which in WHICH, f"which={cfg.which}: one of {', '.join(WHICH)}")
    for key, beside in (("which", "images"), ("split", "images"), ("which", "index"), ("n", "index")):
        require(
            key not in given or cfg[beside] is None, f"{key} and {beside} do not go together: leave one of them out"
        )
    if cfg.images is not None:
        picture_patterns(cfg.images)
    asked = [cfg.methods] if not isinstance(cfg.methods, ListConfig) else list(cfg.methods)
    wrong = next((name for name in asked if name is not None and name not in METHODS), None)
    known = f"one or more of {', '.join(METHODS)}, or null for all"
    require(bool(asked) and wrong is None, f"methods={wrong if asked else '[]'}: {known}")
    alone = cfg.ckpt is None
    if alone and cfg.model._target_ is None:
        raise InputError("what is to be explained? give ckpt=<run, file or newest>, or model=lenet for a summary alone")
    for key in ("images", "index", "methods", "layer", "target", "base", "n", "split", "which"):
        absent = key not in given if key in ("n", "split", "which") else cfg[key] is None
        require(absent or not alone, f"{key} is about a trained network: give ckpt=<run, file or newest>")
    require(cfg.model._target_ is None or alone, "a checkpoint brings its own network: leave model out")
    require(isinstance(cfg.base, str | None), f"base={cfg.base}: a file or a run's folder")
    require(isinstance(cfg.layer, str | None), f"layer={cfg.layer}: the name of one layer")


def summarise_alone(cfg: DictConfig) -> None:
    """The layers of model=<name> as a table, in results.json, and as a picture."""
    from src.files import write_json
    from src.insight.outputs import write_architecture
    from src.insight.summary import summarize, summary_table

    shape = (cfg.channels or 1, cfg.size or 28, cfg.size or 28)
    try:
        model = instantiate(cfg.model, "model", shape=shape, num_classes=cfg.num_classes or 10)
    except InputError as error:
        raise InputError(str(error).replace("data.size", "size")) from None
    summary, folder = summarize(model, shape), output_folder()
    write_json(folder / "results.json", {"summary": summary.plain()})
    if cfg.figures:
        write_architecture(folder, summary)
    log.info("%s\n\n%s in %s", summary_table(summary), done(cfg, "figures/architecture.png"), display_path(folder))


def done(cfg: DictConfig, pictures: str) -> str:
    """The files that were written."""
    return "results.json" + (f" and {pictures}" if cfg.figures else "")


def explain_answers(cfg: DictConfig) -> None:
    """What the answers of a checkpoint's network to some images hang on."""
    path = find_checkpoint(cfg.ckpt, ROOT / "outputs")
    base = find_checkpoint(cfg.base, ROOT / "outputs", key="base") if cfg.base else None

    from src.files import write_json
    from src.insight import explain_batch
    from src.insight.eval_mode import predict_logits
    from src.insight.outputs import write_architecture, write_arrays, write_explanation_figures
    from src.insight.summary import short, summarize
    from src.model_files.load import load_predictor, require_weights

    started = time.perf_counter()
    tune_process()
    set_threads(cfg.threads)
    net = load_predictor(path, base)
    require_weights(net, "explain")
    looks, net.views = net.views, 1  # a mean over several looks would be explained at several places at once
    asked = [cfg.methods] if isinstance(cfg.methods, str) else cfg.methods and list(cfg.methods)
    explain_batch.check_layer(cfg.layer, net.model)
    net = net.to(select_device(cfg.device))
    summary = summarize(net.model, net.info.shape)
    methods, layer = explain_batch.choose_methods(asked, net.model, cfg.layer, summary)
    images, labels, names, rows, own, about = images_of(cfg, net)
    images = images.to(next(net.parameters()).device)
    outputs = predict_logits(net, images).float().cpu()
    columns = target_columns(to_plain(cfg)["target"], outputs, labels, net.info)
    found = explain_batch.Explanation(images, names, rows, labels, outputs, columns)

    options = {
        "integrated_gradients": {"steps": cfg.steps},
        "smooth_grad": {"samples": cfg.samples, "noise": cfg.noise, "seed": cfg.seed},
        "occlusion": {"patch_px": cfg.patch_px},
    }
    explain_batch.attribute(found, net, methods, layer, options)
    kinds = explain_batch.look_inside(found, net, summary, cfg.layer)
    if cfg.class_images:
        explain_batch.maximize_activation(found, net, cfg.seed)
    bank = search(cfg, net, summary, found, own) if cfg.neighbours else None

    folder, lines = output_folder(), explain_batch.records(found, net.info)
    about = {
        "ckpt": str(path),
        "sha256": net.digest,
        "epoch": net.epoch,
        **({"views": f"one look of {looks}"} if looks > 1 else {}),
        **about,
    }
    lie = {"first_px": found.places.first, "step_px": found.places.step} if found.places else "stretched"
    options["grad_cam"] = {"layer": layer, "places": lie}
    used = {name: options.get(name, {}) for name in methods}
    write_json(folder / "results.json", {**about, "methods": used, "images": lines, "summary": summary.plain()})
    write_arrays(folder / "arrays.npz", found)
    if cfg.figures:
        write_architecture(folder, summary)
        write_explanation_figures(folder, found, net, kinds, cfg.layer, bank)
    totals = f"{summary.parameters:,} parameters, {short(summary.multiply_adds)} multiply-adds per image"
    log.info("%s, weights of epoch %d: %s, %s\n", display_path(path), net.epoch, summary.model, totals)
    if looks > 1:
        log.info("one look of %d: answers and maps are those to the image as it is\n", looks)
    log.info("%s", explain_batch.explanation_table(lines))
    log.info(
        "\n%.1f s; %s and arrays.npz in %s", time.perf_counter() - started, done(cfg, "figures/"), display_path(folder)
    )


def images_of(cfg: DictConfig, net):
    """Images, labels (None for files), names and rows (None for files) of what is explained; their positions in the
    training split, if they are of it, or None; and where they are from, for results.json."""
    from src.evaluation.evaluate import predict
    from src.insight.explain_batch import choose_images

    if cfg.images is not None:
        images, names, ink, rest = read_pictures(cfg, net)
        if rest:
            log.info("%s", rest)
        if ink:
            log.info("ink brought to MNIST's form; ink=none reads pictures as they are")
        return images, None, names, None, None, {"ink": "mnist" if ink else "none"}
    data = build_data(cfg, net.config["data"])
    batches = select_split(data, cfg.split, net.info)
    if cfg.index is not None:
        positions = positions_of_rows(to_plain(cfg)["index"], batches.indices, len(batches.labels), cfg.split)
    else:
        outputs, labels = None, batches.labels[batches.indices]
        if cfg.which != "random":
            outputs, labels = predict(net, data.loader(batches), next(net.parameters()).device)
        positions = choose_images(cfg.which, cfg.n, outputs, labels, net.info, cfg.seed)
    images, labels = batches[positions]
    own = positions if cfg.split == "train" and cfg.data._target_ is None else None
    rows = batches.indices[positions].tolist()
    how = {"index": rows} if cfg.index is not None else {"which": cfg.which}
    names = [f"{cfg.split} row {row}" for row in rows]
    return images, labels, names, rows, own, {"data": data.name, "split": cfg.split, **how}


def search(cfg: DictConfig, net, summary, found, own):
    """Find the nearest training images of the network's own data; returns them all, None where they cannot be read."""
    import torch

    from src.insight.explain_batch import find_neighbours

    given = {key: value for key, value in to_plain(cfg.data).items() if value is not None}
    if cfg.data._target_ is not None or cfg.images is not None:  # nothing is fetched for them
        given = {"download": False} | (given if cfg.data._target_ is None else {})
    try:
        bank = select_split(data_as_trained(net.config["data"], given), "train", net.info)
        affordable = max(LEAST, int(BUDGET / max(1, summary.multiply_adds)))
        count = min(len(bank), cfg.searched or affordable)
        rows = torch.linspace(0, len(bank) - 1, count).round().long()
        find_neighbours(found, net, cfg.neighbours, (bank[some] for some in rows.split(1000)), rows, own)
        found.near["rows"] = bank.indices[found.near["positions"]]
    except InputError as error:
        log.info("no nearest training images: %s", error)
        return None
    return bank


if __name__ == "__main__":
    main()
