"""How a compressed network is trained: as the network that it comes from was, as overrides of src.train."""

import re
from math import ceil
from pathlib import Path

import yaml

from src.errors import InputError, require

DEFAULT_EPOCHS = 5  # of a run without a number of epochs
SKIPPED = ("_target_", "_partial_", "_convert_")


def training_overrides(
    conf: Path, config: dict, ckpt: Path, method: str, value: float | dict, epochs: int | None, lr: float | None
) -> list[str]:
    """Overrides for one training of `method`, from the config in the checkpoint.

    Data, augmentation, loss, mixing, views, averaging and weight decay are the run's; what is chosen is an option of
    conf or refused, so that a file never says which class runs.
    value: sparsity, share to keep, or the student as model describes it.
    epochs: None takes half of the run's for a network that is trained already, and all of them for a student.
    """
    words = [*_data(conf, config["data"]), *_group(conf, "augment", config.get("augment"))]
    loss = config.get("loss") or {}
    if method == "distill":
        words += [*_group(conf, "model", value), "loss=distill", f"loss.teacher={text(str(ckpt))}"]
        kept = {key: loss[key] for key in ("label_smoothing", "class_weights") if key in loss}
        words += [f"loss.{key}={text(entry)}" for key, entry in kept.items()]
    else:
        key = {"prune": "sparsity", "channels": "keep"}[method]
        words += [f"init_from={text(str(ckpt))}", f"finetune={method}", f"finetune.{key}={value}"]
        words += [f"views={config.get('views', 1)}"]
        if not loss.get("_target_", "").endswith(".Distill"):
            words += _group(conf, "loss", loss)
    words += [f"task.{key}={text(entry)}" for key, entry in (config.get("task") or {}).items()]
    averaging = (config.get("callbacks") or {}).get("ema")
    if averaging:
        words += ["callbacks=[default,ema]", f"callbacks.ema.decay={averaging.get('decay', 0.999)}"]
    optimizer = config.get("optimizer") or {}
    if optimizer.get("_target_") == "torch.optim.AdamW":
        words += [f"optimizer.weight_decay={optimizer.get('weight_decay', 0.01)}"]
        if method == "distill":
            words += [f"optimizer.lr={optimizer['lr']}"]
    if lr is not None:
        words += [f"optimizer.lr={lr}"]
    trained = (config.get("trainer") or {}).get("max_epochs") or 0
    trained = trained if trained > 0 else DEFAULT_EPOCHS
    return [*words, f"trainer.max_epochs={epochs or (trained if method == 'distill' else ceil(trained / 2))}"]


def _data(conf: Path, options: dict) -> list[str]:
    name = options.get("name")
    known = sorted(path.stem for path in (conf / "data").glob("*.yaml"))
    require(name in known, f"the checkpoint was trained on data={name}, which is no option here: {', '.join(known)}")
    given = {key: value for key, value in options.items() if key not in SKIPPED and value is not None}
    return [f"data={name}", *(f"++data.{key}={text(value)}" for key, value in given.items())]


def _group(conf: Path, group: str, options: dict | None) -> list[str]:
    """The option of a group with the class that `options` names, and what else they say."""
    if not options or not options.get("_target_"):
        return []
    for path in sorted((conf / group).glob("*.yaml")):
        if yaml.safe_load(path.read_text()).get("_target_") == options["_target_"]:
            given = [f"++{group}.{key}={text(value)}" for key, value in options.items() if key not in SKIPPED]
            return [f"{group}={path.stem}", *given]
    raise InputError(f"the checkpoint asks for {options['_target_']}, which is no option of {group}: give train={...}")


def text(value: object) -> str:
    """A plain value as Hydra's override grammar reads it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(text, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{text(entry)}" for key, entry in value.items()) + "}"
    # Within quotes a backslash means something before a quote only.
    return "'" + re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), str(value)) + "'"
