"""What fine-tuning gained on the target data and forgot of the source data."""

import logging
from pathlib import Path
from typing import Any

from src.data.cache import cached
from src.data.datamodule import ImageData
from src.errors import InputError
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
    """
    same_classes = not tuned.info.output.is_number and source.info.class_names == tuned.info.class_names
    result = {"target": data.name, "after": test_metrics.get("acc"), "before": None, "source": None}
    target_data = data.target_data()
    if target_data is not data:
        result["target_images"] = len(target_data.test_set) if target_data else 0
        result["after"] = _accuracy(tuned, target_data, device) if target_data else None
    if target_data is None:
        log.info("what was gained is not measured: of pictures after the 20th data.held_out takes a share, here none")
    elif same_classes:
        result["before"] = _source_accuracy(source, target_data, device)
    if same_classes and data.ink == "mnist":
        unmodified = data.without_ink()
        if tuple(unmodified.test_set.images.shape[1:]) == source.info.shape:
            result["before_without_ink"] = _source_accuracy(source, unmodified, device)
    options = {key: value for key, value in source.config["data"].items() if not key.startswith("_")}
    result["source"] = options["name"]
    if same_classes:
        try:
            source_data = ImageData(**{**options, "download": False})
            source_data.read_as(source.info.shape, resolve_ink("auto", source.info.shape, options))
            result["source_before"] = _source_accuracy(source, source_data, device)
            result["source_after"] = _accuracy(tuned, source_data, device)
        except InputError as error:
            log.info("what was forgotten cannot be measured: %s", error)
    return result


def _source_accuracy(source: InferenceModel, data: ImageData, device: str) -> float:
    """The accuracy of the source model, measured once for all jobs of a sweep."""
    return cached(data.cache_key, f"accuracy of {source.digest}", lambda: _accuracy(source, data, device))


def _accuracy(net: InferenceModel, data: ImageData, device: str) -> float:
    logits, labels = predict(net, data.test_dataloader(), device)
    return compute_metrics(logits, labels, net.info)["acc"]


def forgetting_table(result: dict[str, Any]) -> str:
    """The result of `measure_forgetting`, with the cost of the training, as lines for a terminal."""

    def row(name: str, *keys: str) -> list[str]:
        values = [result.get(key) for key in keys]
        return [name, *("–  " if value is None else f"{100 * value:.2f} %" for value in values)]

    rows = [["", "before", "after"], row(f"target {result['target']}", "before", "after")]
    if "before_without_ink" in result:
        rows.append(row("  without data.ink", "before_without_ink"))
    rows.append(row(f"source {result['source']}", "source_before", "source_after"))
    share = 100 * result["trainable"] / result["parameters"]
    return "\n".join(
        [
            text_table(rows, right=(1, 2), gap="   "),
            f"{result['trainable']:,} of {result['parameters']:,} parameters trained ({share:.1f} %)",
            f"{result['seconds']:.1f} s; {result['bytes'] / 1024:,.0f} KiB in {Path(result['file']).name}",
        ]
    )
