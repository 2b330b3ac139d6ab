"""Latency of networks that take turns, so that other load on the machine falls on all of them."""

import statistics
import timeit
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from src.errors import InputError, require_packages
from src.inference.model import Predictor
from src.model_files.tracing import INPUT

K = TypeVar("K")
EngineTimings = dict[str, dict[int, dict[str, "Timings"]]]  # by engine, batch size and name of the network
BATCH = 256
CALLS_PER_TURN = {1: 100, BATCH: 5}  # by batch size
WARM_UP = 5


@dataclass
class Timings:
    """Seconds of each call, by turn."""

    turns: list[list[float]] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """The seconds that `share` of all calls stayed below."""
        return float(np.quantile([call for turn in self.turns for call in turn], share))

    def times_faster_than(self, other: "Timings") -> tuple[float, float, float]:
        """How many times faster, turn by turn: the median, and the quartiles."""
        pairs = zip(self.turns, other.turns, strict=True)
        ratios = [statistics.median(theirs) / statistics.median(ours) for ours, theirs in pairs]
        low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75)).tolist()
        return middle, low, high


def interleave(runners: Mapping[K, Callable[[], object]], turns: int, calls: int) -> dict[K, Timings]:
    """Time each runner; a turn is `calls` calls of every runner, each turn in another order."""
    timings = {name: Timings() for name in runners}
    for runner in runners.values():
        timeit.repeat(runner, number=1, repeat=WARM_UP)
    names = list(runners)
    for turn in range(turns):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            timings[name].turns.append(timeit.repeat(runners[name], number=1, repeat=calls))
    return timings


def torch_call(net: Predictor, images: Tensor) -> Callable[[], object]:
    """A call of a network by torch on raw grey levels."""

    def call() -> Tensor:
        with torch.inference_mode():
            return net.probs(images)

    return call


def onnxruntime_call(content: bytes, images: Tensor, threads: int) -> Callable[[], object]:
    """A call of an ONNX file by ONNX Runtime on raw grey levels. Raises InputError if that is not installed."""
    from src.model_files.onnxruntime import make_session

    require_packages("export", "onnxruntime")
    session, inputs = make_session(content, threads), {INPUT: images.numpy()}
    outputs = [session.get_outputs()[0].name]
    return lambda: session.run(outputs, inputs)


def time_networks(
    nets: Mapping[str, Predictor], onnx_files: dict[str, bytes], images: Tensor, threads: int, turns: int
) -> EngineTimings:
    """Time networks by torch and ONNX files by ONNX Runtime, for one image and for a batch.

    images: raw grey levels (N >= 256, C, H, W), of which the first 1 and 256 are used.
    """
    before = torch.get_num_threads()
    timings: EngineTimings = {}
    torch.set_num_threads(threads)
    try:
        for size, calls in CALLS_PER_TURN.items():
            batch = images[:size].contiguous()
            runners = {("eager", name): torch_call(net, batch) for name, net in nets.items()}
            with suppress(InputError):  # without ONNX Runtime only torch is measured
                runners |= {("ONNX Runtime", n): onnxruntime_call(c, batch, threads) for n, c in onnx_files.items()}
            for (engine, name), result in interleave(runners, turns, calls).items():
                timings.setdefault(engine, {}).setdefault(size, {})[name] = result
    finally:
        torch.set_num_threads(before)
    return timings
