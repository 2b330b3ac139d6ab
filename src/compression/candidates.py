"""Networks side by side: every figure of each, as plain values."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from src.compression.latency import BATCH, time_networks
from src.compression.measure import accuracy, mcnemar_test
from src.compression.size import sizes, weights
from src.errors import InputError
from src.evaluation.evaluate import predict
from src.model_files.onnx import onnx_bytes


@dataclass
class Candidate:
    """A network and the file that holds it.

    net: takes raw grey levels; file: its bytes; onnx: as an ONNX file, None where that cannot be made; seconds: that
    making it took; quantised: whether its arithmetic is in 8 bits.
    """

    name: str
    net: nn.Module
    file: bytes
    onnx: bytes | None
    seconds: float = 0.0
    quantised: bool = False


def try_onnx_export(net: nn.Module) -> bytes | None:
    """The ONNX file of a network of torch, None where it cannot be made here."""
    try:
        return onnx_bytes(net)
    except InputError:
        return None


def validate(made: list[Candidate], data) -> list[float]:
    """Accuracy of each on the validation split."""
    loader = data.loader(data.val_set)
    return [accuracy(*predicted_classes(one.net, loader))["acc"] for one in made]


def predicted_classes(net: nn.Module, loader) -> tuple[Tensor, Tensor]:
    """The likeliest class and the label of each image, int64 (N,)."""
    logits, labels = predict(net, loader)
    return logits.argmax(1), labels


def choose_candidate(made: list[Candidate], scores: list[float], tolerance: float) -> int:
    """The place of the smallest that loses at most `tolerance` on validation images, else of the best there; the first
    of `made` is what they come from, the others are in the order in which they get smaller."""
    near = [place for place in range(1, len(made)) if scores[place] >= scores[0] - tolerance]
    return near[-1] if near else max(range(1, len(made)), key=lambda place: scores[place])


def measure_candidates(
    made: list[Candidate], scores: list[float], data, batches, threads: int, turns: int
) -> list[dict]:
    """A row per network, the first of them the one before: test accuracy, size, arithmetic, speed.

    scores: on validation images. batches: of the test split, read here and nowhere before.
    """
    tested = [predicted_classes(one.net, data.loader(batches)) for one in made]
    images = batches[torch.arange(BATCH) % len(batches)][0]
    nets = {one.name: one.net for one in made if one.net.engine == "torch"}
    found = time_networks(nets, {one.name: one.onnx for one in made if one.onnx}, images, threads, turns)
    rows, labels = [], tested[0][1]
    for one, score, (said, _) in zip(made, scores, tested, strict=True):
        row = {"name": one.name, **accuracy(said, labels), "val_acc": score, "seconds": round(one.seconds, 2)}
        row |= weights(one.net if one.net.engine == "torch" else made[0].net) | sizes(one.file, one.onnx)
        row |= {"quantised": one.quantised, "speed": {}}
        row |= mcnemar_test(tested[0][0], said, labels) if one is not made[0] else {}
        for engine, by_batch in found.items():
            if one.name not in by_batch[1]:
                continue
            single, many = by_batch[1][one.name], by_batch[BATCH][one.name]
            row["speed"][engine] = {
                "p50_s": single.quantile(0.5),
                "p99_s": single.quantile(0.99),
                "images_per_s": BATCH / many.quantile(0.5),
            }
            if one is not made[0]:
                for batch in by_batch:
                    ratio = by_batch[batch][one.name].times_faster_than(by_batch[batch][made[0].name])
                    row["speed"][engine][f"faster_{batch}"] = list(ratio)
        rows.append(row)
    return rows
