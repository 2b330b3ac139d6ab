"""What a fine-tuning gained on the target and forgot of the source."""

import logging
from pathlib import Path

from src.data.datamodule import ImageData
from src.errors import InputError
from src.evaluation.evaluate import compute_metrics, predict

log = logging.getLogger(__name__)


def measure_forgetting(start, tuned, data: ImageData, after: dict, device: str) -> dict:
    """Accuracy of the start and of the tuned network on the test splits of the target and of the start's own data.

    after: what `measure` gave for the tuned network on the target. None stands for what has no meaning (a head that
    does not know the classes) or cannot be read. without_ink: the start on the target's pictures as they are.
    Of data=feedback the target is the corrections that were held out.
    """
    known = not tuned.info.target and start.info.class_names == tuned.info.class_names
    result = {"target": data.name, "after": after.get("acc"), "before": None, "source": None}
    goal = data.target_data()
    if goal is not data:
        result["target_images"] = len(goal.test_set) if goal else 0
        result["after"] = _accuracy(tuned, goal, device) if goal else None
    if goal is None:
        log.info("what was gained is not measured: of pictures after the 20th data.held_out takes a share, here none")
    elif known:
        result["before"] = _accuracy(start, goal, device)
    if known and data.ink == "mnist":
        plain = data.without_ink()
        if tuple(plain.test_set.images.shape[1:]) == start.info.shape:
            result["before_without_ink"] = _accuracy(start, plain, device)
    options = {key: value for key, value in start.config["data"].items() if not key.startswith("_")}
    result["source"] = options["name"]
    if known:
        try:
            source = ImageData(**{**options, "download": False})
            result["source_before"] = _accuracy(start, source, device)
            result["source_after"] = _accuracy(tuned, source, device)
        except InputError as error:
            log.info("what was forgotten cannot be measured: %s", error)
    return result


_measured: dict[tuple[str, str], float] = {}  # a sweep measures a start once


def _accuracy(net, data: ImageData, device: str) -> float:
    key = net.digest, data.contents
    if key not in _measured:
        _measured[key] = _measure(net, data, device)
    return _measured[key]


def _measure(net, data: ImageData, device: str) -> float:
    logits, labels = predict(net, data.test_dataloader(), device)
    return compute_metrics(logits, labels, net.info)["acc"]


def forgetting_table(result: dict) -> str:
    """The comparison as lines for a terminal."""

    def cell(name: str) -> str:
        value = result.get(name)
        return "      –  " if value is None else f"{100 * value:7.2f} %"

    lines = [
        f"{'':<22}{'before':>9}{'after':>10}",
        f"{'target ' + result['target']:<22}{cell('before')} {cell('after')}",
    ]
    if "before_without_ink" in result:
        lines.append(f"{'  without data.ink':<22}{cell('before_without_ink')}")
    lines.append(f"{'source ' + str(result['source']):<22}{cell('source_before')} {cell('source_after')}")
    share = 100 * result["trainable"] / result["parameters"]
    lines.append(f"{result['trainable']:,} of {result['parameters']:,} parameters trained ({share:.1f} %)")
    lines.append(f"{result['seconds']:.1f} s; {result['bytes'] / 1024:,.0f} KiB in {Path(result['file']).name}")
    return "\n".join(lines)
