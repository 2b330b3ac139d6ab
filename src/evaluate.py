"""Measure a trained network: python -m src.evaluate ckpt=<run folder, file or newest> [split=val] [data=usps]"""

import logging

from omegaconf import DictConfig

from src.errors import InputError, require
from src.run import ROOT, build, command, output_folder, plain, shown, tune_process

log = logging.getLogger(__name__)
SPLITS = ("train", "val", "test")


@command("evaluate")
def main(cfg: DictConfig) -> float:
    """Every figure and picture of one split. Returns the accuracy, or the mean absolute error."""
    from src.checkpoint import find_checkpoint, load_model
    from src.data.fetch import write_json
    from src.evaluation import measure, predict, table

    require(cfg.split in SPLITS, f"split={cfg.split}: one of {', '.join(SPLITS)}")
    tune_process()
    path = find_checkpoint(cfg.ckpt, ROOT / "outputs")
    require(cfg.base is None or isinstance(cfg.base, str), f"base={cfg.base}: a file or a run's folder")
    net = load_model(path, find_checkpoint(cfg.base, ROOT / "outputs", key="base") if cfg.base else None)
    data = build_data(cfg, net.config["data"])
    batches = pick(data, cfg.split, net.facts)
    logits, labels = predict(net, data.loader(batches), pick_device(cfg.device))
    results = measure(logits, labels, net.facts)

    folder = output_folder()
    about = {"ckpt": str(path), "sha256": net.digest, "epoch": net.epoch, "data": data.name, "split": cfg.split}
    write_json(folder / "results.json", {**about, **results})
    log.info("%s, weights of epoch %d, on the %s split of %s\n", shown(path), net.epoch, cfg.split, data.name)
    log.info("%s", table(results))
    if cfg.figures:
        from src.insight.figures import write_evaluation

        write_evaluation(folder / "figures", batches, labels, logits, results, net.facts)
    log.info("\nresults.json%s in %s", " and figures/" if cfg.figures else "", shown(folder))
    return results.get("acc", results.get("mae"))


def build_data(cfg: DictConfig, trained: dict):
    """The data set that is asked for, or the one that the network was trained on with what is given changed."""
    if cfg.data._target_ is not None:
        return build(cfg.data, "data")
    from src.data.module import ImageData  # never a class that the file names

    given = {key: value for key, value in plain(cfg.data).items() if value is not None}
    options = {key: value for key, value in {**trained, **given}.items() if not key.startswith("_")}
    try:
        return ImageData(**options)
    except TypeError as error:
        raise InputError(f"the checkpoint's data options do not fit this version ({error}): give data=<name>") from None


def pick(data, split: str, facts):
    """The batches of a split, with labels as the network counts them.

    Raises InputError if the images have another shape or classes that the network does not know.
    """
    target = f"{data.target}_deg" if data.target == "angle" else None
    if target != facts.target or (target and data.max_angle_deg != facts.scale):
        asked = f"data.target={data.target}" + (f", up to {data.max_angle_deg:g} degrees" if target else "")
        fix = f"data.target=angle data.max_angle_deg={facts.scale:g}" if facts.target else "data.target=class"
        raise InputError(f"{asked}, but this network gives {facts.target or 'classes'}: give {fix}")
    names, known = data.source.class_names, facts.class_names or data.source.class_names
    strangers = [name for name in names if name not in known]
    if strangers:
        raise InputError(
            f"data={data.name} has {len(names)} classes, {len(strangers)} of which this network does not know "
            f"({', '.join(strangers[:8])}); it knows {len(known)}: {', '.join(known[:12])}"
        )
    if split != "test":
        data.setup()
    batches = {"train": lambda: data.train_set, "val": lambda: data.val_set, "test": lambda: data.test_set}[split]()
    shape = tuple(batches.images.shape[1:])
    if shape != facts.shape:
        raise InputError(
            f"data={data.name} has images of {'x'.join(map(str, shape))} (channels, height, width), this network reads "
            f"{'x'.join(map(str, facts.shape))}: with data=folder give data.size and data.channels"
        )
    return batches if target else batches.relabelled([known.index(name) for name in names])


def pick_device(given: str) -> str:
    """A device by name; auto takes the accelerator if there is one. Raises InputError for one that is not there."""
    import torch

    found = torch.accelerator.current_accelerator().type if torch.accelerator.is_available() else "cpu"
    if given == "auto":
        return found
    if given not in ("cpu", found):
        raise InputError(f"device={given} is not here: give device=auto or device=cpu")
    return given


if __name__ == "__main__":
    main()
