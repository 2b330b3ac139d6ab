"""How fast networks answer, measured in turns, so that what else the machine does falls on all of them."""

import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from src.errors import InputError, require_packages

BATCH = 256
CALLS = {1: 100, BATCH: 5}  # per turn
WARM_UP = 5


@dataclass
class Timings:
    """Seconds of each call, turn by turn."""

    turns: list[list[float]] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """Seconds that `share` of all calls stayed below."""
        return float(np.quantile([call for turn in self.turns for call in turn], share))

    def times_faster_than(self, other: "Timings") -> tuple[float, float, float]:
        """Median over the turns of how many times faster, and the quartiles."""
        pairs = zip(self.turns, other.turns, strict=True)
        ratios = [statistics.median(theirs) / statistics.median(ours) for ours, theirs in pairs]
        low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75)).tolist()
        return middle, low, high


def interleave(runners: dict[str, Callable[[], object]], turns: int, calls: int) -> dict[str, Timings]:
    """The pace of each runner; a turn is `calls` calls of one after the other runner, the first another each time."""
    paces = {name: Timings() for name in runners}
    for runner in runners.values():
        for _ in range(WARM_UP):
            runner()
    names = list(runners)
    for turn in range(turns):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            runner, spent = runners[name], []
            for _ in range(calls):
                begun = time.perf_counter()
                runner()
                spent.append(time.perf_counter() - begun)
            paces[name].turns.append(spent)
    return paces


def torch_call(net: nn.Module, images: torch.Tensor) -> Callable[[], object]:
    """A call of torch's network on raw grey levels."""

    def call() -> torch.Tensor:
        with torch.inference_mode():
            return net.probs(images)

    return call


def onnxruntime_call(content: bytes, images: torch.Tensor, threads: int) -> Callable[[], object]:
    """A call of ONNX Runtime on raw grey levels. Raises InputError where it is not installed."""
    from src.model_files.onnxruntime import make_session

    require_packages("export", "onnxruntime")
    session, given = make_session(content, threads), {"images": images.numpy()}
    name = [session.get_outputs()[0].name]
    return lambda: session.run(name, given)


def time_networks(
    nets: dict[str, nn.Module], contents: dict[str, bytes], images: torch.Tensor, threads: int, turns: int
):
    """{engine: {batch: {name: Pace}}} of networks in torch (nets) and in ONNX Runtime (contents), by name.

    images: raw grey levels (N >= 256, C, H, W), of which the first 1 and 256 are looked at.
    """
    before, found = torch.get_num_threads(), {}
    torch.set_num_threads(threads)
    try:
        for batch, calls in CALLS.items():
            some = images[:batch].contiguous()
            runners = {("eager", name): torch_call(net, some) for name, net in nets.items()}
            with suppress(InputError):  # not installed: what is measured is torch alone
                runners |= {("ONNX Runtime", n): onnxruntime_call(content, some, threads) for n, content in contents.items()}
            for (engine, name), pace in interleave(runners, turns, calls).items():
                found.setdefault(engine, {}).setdefault(batch, {})[name] = pace
    finally:
        torch.set_num_threads(before)
    return found
