"""What fine-tuning gained on the target data and forgot of the source data."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.data.cache import cached
from src.data.datamodule import ImageData
from src.errors import InputError, printable
from src.evaluation.evaluate import compute_metrics, predict
from src.inference.model import InferenceModel
from src.pictures.inputs import resolve_ink
from src.plotting import text_table

log = logging.getLogger(__name__)


def measure_forgetting(
    source: InferenceModel, tuned: InferenceModel, data: ImageData, test_metrics: dict[str, Any], device: str
) -> dict[str, Any]:
    """Accuracies of the source model and the tuned one on the test splits of the target and of the source data.

    test_metrics: of the tuned network on `data`. None stands for what has no meaning (a head for other classes) or
    cannot be read. before_without_ink: the source model on the target's pictures as they are.
    With data=feedback the target is the corrections that were held out.
    target, source: data.name, of pictures with the last part of data.root; reasons: why "before" or "source" is None.
    """
    same_classes = not tuned.info.output.is_number and source.info.class_names == tuned.info.class_names
    options = {key: value for key, value in source.config["data"].items() if not key.startswith("_")}
    target_name, source_name = _data_names((data.name, data.root), (options["name"], options.get("root")))
    result: dict[str, Any] = {"target": target_name, "after": test_metrics.get("acc"), "before": None, "source": None}
    reasons = {} if same_classes else _reasons_of_classes(source, tuned)
    target_data = data.target_data()
    if target_data is not data:
        result["target_images"] = len(target_data.test_set) if target_data else 0
        result["after"] = _accuracy(tuned, target_data, device) if target_data else None
    if target_data is None:
        reasons["before"] = "no corrections are held out"
        log.info("what was gained is not measured: of pictures after the 20th data.held_out takes a share, here none")
    elif same_classes:
        result["before"] = _source_accuracy(source, target_data, device)
    if same_classes and data.ink == "mnist":
        unmodified = data.without_ink()
        if tuple(unmodified.test_set.images.shape[1:]) == source.info.shape:
            result["before_without_ink"] = _source_accuracy(source, unmodified, device)
    result["source"] = source_name
    if same_classes:
        try:
            source_data = ImageData(**{**options, "download": False})
            source_data.read_as(source.info.shape, resolve_ink("auto", source.info.shape, options))
            result["source_before"] = _source_accuracy(source, source_data, device)
            result["source_after"] = _accuracy(tuned, source_data, device)
        except InputError as error:
            log.info("what was forgotten cannot be measured: %s", error)
            reasons["source"] = "its data cannot be read"
    if reasons:
        result["reasons"] = reasons
    return result


def _data_names(*data: tuple[str, object]) -> list[str]:
    """Names and roots (data.name, data.root) as names that differ where folders of pictures do."""

    def names(parts: int) -> list[str]:
        last = ["/".join(Path(str(root)).expanduser().absolute().parts[-parts:]) for _, root in data]
        return [f"{name} {end}" if name == "folder" and root else name
                for (name, root), end in zip(data, last, strict=True)]  # fmt: skip

    distinct = len({(name, Path(str(root)) if name == "folder" else None) for name, root in data})
    found = next((found for parts in (1, 2, 3) if len(set(found := names(parts))) == distinct), names(1))
    return [printable(name, 60) for name in found]


def _reasons_of_classes(source: InferenceModel, tuned: InferenceModel) -> dict[str, str]:
    """Why networks of different classes are not compared: of the source network, and of the tuned one."""
    if tuned.info.output.is_number or source.info.output.is_number:
        which = "tuned" if tuned.info.output.is_number else "source"
        return dict.fromkeys(("before", "source"), f"the {which} network predicts a number, which has no accuracy")
    if set(source.info.class_names) == set(tuned.info.class_names):
        return dict.fromkeys(("before", "source"), "both have the same classes in another order")
    return {
        "before": "the source network has another set of classes: its head does not know those of the target",
        "source": "the tuned network has another set of classes: its new head does not know those of the source",
    }


def _source_accuracy(source: InferenceModel, data: ImageData, device: str) -> float:
    """The accuracy of the source model, measured once for all jobs of a sweep."""
    return cached(data.cache_key, f"accuracy of {source.digest}", lambda: _accuracy(source, data, device))


def _accuracy(net: InferenceModel, data: ImageData, device: str) -> float:
    logits, labels = predict(net, data.test_dataloader(), device)
    return compute_metrics(logits, labels, net.info)["acc"]


def forgetting_table(result: Mapping[str, Any]) -> str:
    """The result of `measure_forgetting`, with the cost of the training, as lines for a terminal."""

    def row(name: str, *keys: str) -> list[str]:
        values = [result.get(key) for key in keys]
        return [name, *("–  " if value is None else f"{100 * value:.2f} %" for value in values)]

    rows = [["", "before", "after"], row(f"target {result['target']}", "before", "after")]
    if "before_without_ink" in result:
        rows.append(row("  without data.ink", "before_without_ink"))
    rows.append(row(f"source {result['source']}", "source_before", "source_after"))
    rows_of = {"before": "target before", "source": "source"}
    reasons = [f"{rows_of[key]} is not measured: {reason}" for key, reason in result.get("reasons", {}).items()]
    share = 100 * result["trainable"] / result["parameters"]
    return "\n".join(
        [
            text_table(rows, right=(1, 2), gap="   "),
            *reasons,
            f"{result['trainable']:,} of {result['parameters']:,} parameters trained ({share:.1f} %)",
            f"{result['seconds']:.1f} s; {result['bytes'] / 1024:,.0f} KiB in {Path(result['file']).name}",
        ]
    )
