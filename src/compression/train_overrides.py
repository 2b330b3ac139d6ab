"""Overrides of src.train that train a compressed network as the network before it was trained."""

from math import ceil
from pathlib import Path

import yaml

from src.cli.feedback_mix import add_renewal
from src.cli.overrides import hydra_literal
from src.errors import require
from src.model_files.trust import check_recorded

DEFAULT_EPOCHS = 5  # for a run without a number of epochs
NOT_ARGUMENTS = ("_target_", "_partial_", "_convert_")


def training_overrides(
    conf: Path, config: dict, ckpt: Path, method: str, value: float | dict, epochs: int | None, lr: float | None
) -> list[str]:
    """Overrides for one training with `method`, from the config in the checkpoint.

    Data, augmentation, loss, mixup, views, weight averaging and weight decay are those of the run. A class that the
    checkpoint names is one of an option in `conf`, one of torch's kind, or trusted; no other is built.
    value: sparsity, share to keep, or the config of the student.
    epochs: None takes half of the run's for prune and channels, and all of them for a student.
    """
    overrides = [*_data_overrides(conf, config["data"]), *_group_overrides(conf, "augment", config.get("augment"))]
    loss = config.get("loss") or {}
    if method == "distill":
        overrides += _group_overrides(conf, "model", value)
        overrides += ["loss=distill", f"loss.teacher={hydra_literal(str(ckpt))}"]
        shared = [key for key in ("label_smoothing", "class_weights") if key in loss]
        overrides += [f"loss.{key}={hydra_literal(loss[key])}" for key in shared]
    else:
        key = {"prune": "sparsity", "channels": "keep"}[method]
        overrides += [f"init_from={hydra_literal(str(ckpt))}", f"finetune={method}", f"finetune.{key}={value}"]
        overrides += [f"views={config.get('views', 1)}"]
        if not loss.get("_target_", "").endswith(".Distill"):
            overrides += _group_overrides(conf, "loss", loss)
    overrides += [f"task.{key}={hydra_literal(entry)}" for key, entry in (config.get("task") or {}).items()]
    if ema := (config.get("callbacks") or {}).get("ema"):
        overrides += ["callbacks=[default,ema]", f"callbacks.ema.decay={ema.get('decay', 0.999)}"]
    optimizer = config.get("optimizer") or {}
    if optimizer.get("_target_") == "torch.optim.AdamW":
        overrides += [f"optimizer.weight_decay={optimizer.get('weight_decay', 0.01)}"]
        if method == "distill":
            overrides += [f"optimizer.lr={optimizer['lr']}"]
    if lr is not None:
        overrides += [f"optimizer.lr={lr}"]
    run_epochs = (config.get("trainer") or {}).get("max_epochs") or 0
    run_epochs = run_epochs if run_epochs > 0 else DEFAULT_EPOCHS
    return [*overrides, f"trainer.max_epochs={epochs or (run_epochs if method == 'distill' else ceil(run_epochs / 2))}"]


def _data_overrides(conf: Path, options: dict) -> list[str]:
    name = options.get("name")
    known = sorted(path.stem for path in (conf / "data").glob("*.yaml"))
    require(name in known, f"the checkpoint was trained on data={name}, which is no option here: {', '.join(known)}")
    arguments = {key: value for key, value in options.items() if key not in NOT_ARGUMENTS and value is not None}
    check_recorded(arguments, "data of the checkpoint")
    words = [f"data={name}", *(f"++data.{key}={hydra_literal(value)}" for key, value in arguments.items())]
    return add_renewal(words)


def _group_overrides(conf: Path, group: str, options: dict | None) -> list[str]:
    """The option of a group that has the class of `options`, and their other keys; another class as its node."""
    if not options or not options.get("_target_"):
        return []
    for path in sorted((conf / group).glob("*.yaml")):
        if yaml.safe_load(path.read_text(encoding="utf-8")).get("_target_") == options["_target_"]:
            arguments = {key: value for key, value in options.items() if key not in NOT_ARGUMENTS}
            return [f"{group}={path.stem}", *(f"++{group}.{k}={hydra_literal(v)}" for k, v in arguments.items())]
    check_recorded(options, f"{group} of the checkpoint")
    return [f"~{group}", f"++{group}={hydra_literal(options)}"]
