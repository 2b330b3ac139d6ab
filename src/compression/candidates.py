"""Candidates, compressed more and more: which one to take, and everything that is measured of each."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from src.compression.latency import BATCH, EngineTimings, time_networks
from src.compression.measure import count_weights_and_operations, file_sizes, mcnemar_test, measure_accuracy
from src.data.batches import BatchDataset
from src.data.datamodule import ImageData
from src.errors import InputError
from src.evaluation.evaluate import predict
from src.inference.model import InferenceModel
from src.model_files.onnx import onnx_bytes
from src.model_files.onnxruntime import OnnxNet


@dataclass
class Candidate:
    """A network and the file that holds it.

    content: of the file. onnx: the network as an ONNX file; None if it cannot be exported. seconds: that it took to
    make it. quantized: whether its arithmetic is in 8 bits.
    """

    name: str
    net: InferenceModel | OnnxNet
    content: bytes
    onnx: bytes | None
    seconds: float = 0.0
    quantized: bool = False


def try_onnx_export(net: InferenceModel) -> bytes | None:
    """A network as an ONNX file; None if it cannot be exported here."""
    try:
        return onnx_bytes(net)
    except InputError:
        return None


def predict_classes(net: InferenceModel | OnnxNet, loader: DataLoader) -> tuple[Tensor, Tensor]:
    """The predicted class and the label of each image, int64 (N,)."""
    logits, labels = predict(net, loader)
    return logits.argmax(1), labels


def validation_accuracies(candidates: list[Candidate], data: ImageData) -> list[float]:
    """The accuracy of each candidate on the validation split."""
    loader = data.loader(data.val_set)
    return [measure_accuracy(*predict_classes(candidate.net, loader))["acc"] for candidate in candidates]


def select_candidate(val_accs: list[float], tolerance: float) -> int:
    """The index of the smallest candidate that loses at most `tolerance` on validation images, else of the best.

    val_accs: first of the network before compression, then of candidates in the order in which they get smaller.
    """
    close = [index for index in range(1, len(val_accs)) if val_accs[index] >= val_accs[0] - tolerance]
    return close[-1] if close else max(range(1, len(val_accs)), key=lambda index: val_accs[index])


def measure_candidates(
    candidates: list[Candidate], val_accs: list[float], data: ImageData, batches: BatchDataset, threads: int, turns: int
) -> list[dict]:
    """A row per network, the first of them the one before compression: test accuracy, size, arithmetic, speed.

    val_accs: of `validation_accuracies`. batches: of the test split, which nothing reads before.
    """
    tested = [predict_classes(candidate.net, data.loader(batches)) for candidate in candidates]
    before, (before_classes, labels) = candidates[0], tested[0]
    images = batches[torch.arange(BATCH) % len(batches)][0]
    by_torch = {one.name: one.net for one in candidates if one.net.engine == "torch"}
    onnx_files = {one.name: one.onnx for one in candidates if one.onnx}
    timings = time_networks(by_torch, onnx_files, images, threads, turns)
    rows = []
    for candidate, val_acc, (classes, _) in zip(candidates, val_accs, tested, strict=True):
        counted = candidate.net if isinstance(candidate.net, InferenceModel) else before.net
        rows.append(
            {
                "name": candidate.name,
                **measure_accuracy(classes, labels),
                "val_acc": val_acc,
                "seconds": round(candidate.seconds, 2),
                **count_weights_and_operations(counted),
                **file_sizes(candidate.content, candidate.onnx),
                "quantised": candidate.quantized,
                "speed": _speed(timings, candidate.name, before.name),
                **(mcnemar_test(before_classes, classes, labels) if candidate is not before else {}),
            }
        )
    return rows


def _speed(timings: EngineTimings, name: str, before: str) -> dict[str, dict]:
    speed: dict[str, dict] = {}
    for engine, by_batch in timings.items():
        if name not in by_batch[1]:
            continue
        single, batch = by_batch[1][name], by_batch[BATCH][name]
        speed[engine] = {
            "p50_s": single.quantile(0.5),
            "p99_s": single.quantile(0.99),
            "images_per_s": BATCH / batch.quantile(0.5),
        }
        if name != before:
            for size, by_name in by_batch.items():
                speed[engine][f"faster_{size}"] = list(by_name[name].times_faster_than(by_name[before]))
    return speed
