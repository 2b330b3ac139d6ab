"""Time of each convolution algorithm: python -m benchmarks.convolution

One thread, single precision. Ratios are of medians, over torch's own, from interleaved repeats; the backward pass is
for inputs, weight and bias. The deviation is the largest of any output, over the largest output.
"""

import argparse
import statistics
import time

import torch
from torch import Tensor

from src.cli.process import tune_process
from src.models.convolution import ALGORITHMS, convolve

LAYERS = (  # images, channels, side, outputs, kernel, padding
    ("LeNet-5, first layer", (64, 1, 28, 6, 5, 2)),
    ("LeNet-5, second layer", (64, 6, 14, 16, 5, 0)),
)
SIDES, KERNELS, SWEEP = (28, 64), (3, 5, 9, 15, 21), (8, 8, 8)  # the last: images, channels, outputs
SECONDS_EACH = 0.25  # a slower algorithm runs MIN_REPEATS times
MAX_REPEATS, MIN_REPEATS = 25, 3


def make_layer(images: int, channels: int, side: int, outputs: int, kernel: int, padding: int) -> tuple[list, int]:
    """Random inputs, weight and bias, scaled to outputs of variance 1; and the padding."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(images, channels, side, side, generator=generator)
    weight = torch.randn(outputs, channels, kernel, kernel, generator=generator) / (channels**0.5 * kernel)
    return [tensor.requires_grad_() for tensor in (inputs, weight, torch.zeros(outputs))], padding


def time_once(algorithm: str, tensors: list[Tensor], padding: int) -> tuple[float, float]:
    """Seconds of a forward pass without gradients, and of a forward and a backward pass."""
    started = time.perf_counter()
    with torch.no_grad():
        outputs = convolve(*tensors, padding=padding, algorithm=algorithm)
    between = time.perf_counter()
    outputs = convolve(*tensors, padding=padding, algorithm=algorithm)
    torch.autograd.grad(outputs, tensors, torch.ones_like(outputs))
    return between - started, time.perf_counter() - between


def measure(tensors: list[Tensor], padding: int, algorithms: tuple[str, ...]) -> dict[str, tuple[float, float, float]]:
    """Algorithm -> median seconds forward, and forward and backward, and its deviation from torch's own."""
    with torch.no_grad():
        outputs = {name: convolve(*tensors, padding=padding, algorithm=name) for name in algorithms}
    first = {name: sum(time_once(name, tensors, padding)) for name in algorithms}
    repeats = {
        name: max(MIN_REPEATS, min(MAX_REPEATS, round(SECONDS_EACH / seconds))) for name, seconds in first.items()
    }
    times = {name: [] for name in algorithms}
    for repeat in range(max(repeats.values())):
        for name in algorithms:
            if repeat < repeats[name]:
                times[name].append(time_once(name, tensors, padding))
    native = outputs["native"]
    return {
        name: (
            *(statistics.median(column) for column in zip(*times[name], strict=True)),
            float((outputs[name] - native).abs().max() / native.abs().max()),
        )
        for name in algorithms
    }


def row(title: str, algorithm: str, own: tuple[float, float, float], native: tuple[float, float, float]) -> str:
    """A line of the table."""
    times = "".join(f"{1000 * o:>13.2f}{o / n:>12.2f}" for o, n in zip(own[:2], native[:2], strict=True))
    return f"{title if algorithm == 'native' else '':<24}{algorithm:<8}{times}{own[2]:>11.0e}"


def main() -> None:
    """Print a row per layer and algorithm, and the kernels for which FFT is faster than torch's own."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    tune_process()
    torch.set_num_threads(1)
    print(f"{'ms':<32}{'forward':>13}{'over native':>12}{'and backward':>13}{'over native':>12}{'deviation':>11}")
    for name, layer in LAYERS:
        results = measure(*make_layer(*layer), ALGORITHMS)
        for algorithm, own in results.items():
            print(row(name, algorithm, own, results["native"]), flush=True)
    images, channels, outputs = SWEEP
    print(f"\n{images} images, {channels} channels to {outputs}")
    notes = []
    for side in SIDES:
        faster: list[list[int]] = [[], []]  # kernels, forward and with backward
        for kernel in KERNELS:
            results = measure(*make_layer(images, channels, side, outputs, kernel, 0), ("native", "unfold", "fft"))
            for algorithm, own in results.items():
                print(row(f"{side}x{side}, kernel {kernel}x{kernel}", algorithm, own, results["native"]), flush=True)
            for index, kernels in enumerate(faster):
                kernels += [kernel] if results["fft"][index] < results["native"][index] else []
        texts = [", ".join(f"{k}x{k}" for k in kernels) or "none" for kernels in faster]
        notes.append(f"{side}x{side}: FFT beats native forward with kernels {texts[0]}; and backward with {texts[1]}")
    print("\n" + "\n".join(notes))


if __name__ == "__main__":
    main()
