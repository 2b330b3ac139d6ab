"""What each form of convolution costs: python -m benchmarks.convolution

One thread, single precision. Every ratio is of medians over torch's own, from repeats in which the forms take turns;
the backward pass is for inputs, weight and bias. The deviation is the largest of any output, over the largest output.
"""

import argparse
import statistics
import time

import torch
from torch import Tensor

from src.cli.process import tune_process
from src.models.convolution import FORMS

LAYERS = (  # images, channels, side, outputs, kernel, padding
    ("LeNet-5, first layer", (64, 1, 28, 6, 5, 2)),
    ("LeNet-5, second layer", (64, 6, 14, 16, 5, 0)),
)
SIDES, KERNELS, SWEEP = (28, 64), (3, 5, 9, 15, 21), (8, 8, 8)  # the last: images, channels, outputs
SECONDS_EACH = 0.25  # a form that takes longer runs three times and no more
MOST, LEAST = 25, 3


def make_layer(images: int, channels: int, side: int, outputs: int, kernel: int, padding: int) -> tuple[list, int]:
    """Inputs, weight and bias at random, of the size that keeps values of variance 1; and the padding."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(images, channels, side, side, generator=generator)
    weight = torch.randn(outputs, channels, kernel, kernel, generator=generator) / (channels**0.5 * kernel)
    return [tensor.requires_grad_() for tensor in (inputs, weight, torch.zeros(outputs))], padding


def timed(form: str, tensors: list[Tensor], padding: int) -> tuple[float, float]:
    """Seconds of a forward pass without gradients, and of a forward and a backward pass."""
    compute = FORMS[form]
    begun = time.perf_counter()
    with torch.no_grad():
        outputs = compute(*tensors, padding=padding)
    between = time.perf_counter()
    outputs = compute(*tensors, padding=padding)
    torch.autograd.grad(outputs, tensors, torch.ones_like(outputs))
    return between - begun, time.perf_counter() - between


def measure(tensors: list[Tensor], padding: int, forms: tuple[str, ...]) -> dict[str, tuple[float, float, float]]:
    """Form -> medians of the seconds forward and forward and backward, and its deviation from torch's own."""
    with torch.no_grad():
        values = {form: FORMS[form](*tensors, padding=padding) for form in forms}
    first = {form: sum(timed(form, tensors, padding)) for form in forms}
    runs = {form: max(LEAST, min(MOST, round(SECONDS_EACH / seconds))) for form, seconds in first.items()}
    found = {form: [] for form in forms}
    for turn in range(max(runs.values())):
        for form in forms:
            if turn < runs[form]:
                found[form].append(timed(form, tensors, padding))
    own = values["native"]
    return {
        form: (
            *(statistics.median(column) for column in zip(*found[form], strict=True)),
            float((values[form] - own).abs().max() / own.abs().max()),
        )
        for form in forms
    }


def row(name: str, form: str, own: tuple[float, float, float], native: tuple[float, float, float]) -> str:
    """A line of the table."""
    times = "".join(f"{1000 * o:>13.2f}{o / n:>12.2f}" for o, n in zip(own[:2], native[:2], strict=True))
    return f"{name if form == 'native' else '':<24}{form:<8}{times}{own[2]:>11.0e}"


def main() -> None:
    """Print a row per layer and form, and from which kernel on FFT is faster than torch's own."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    tune_process()
    torch.set_num_threads(1)
    print(f"{'ms':<32}{'forward':>13}{'over native':>12}{'and backward':>13}{'over native':>12}{'deviation':>11}")
    for name, layer in LAYERS:
        results = measure(*make_layer(*layer), tuple(FORMS))
        for form, own in results.items():
            print(row(name, form, own, results["native"]), flush=True)
    images, channels, outputs = SWEEP
    print(f"\n{images} images, {channels} channels to {outputs}")
    notes = []
    for side in SIDES:
        faster: list[list[int]] = [[], []]  # kernels, forward and with backward
        for kernel in KERNELS:
            results = measure(*make_layer(images, channels, side, outputs, kernel, 0), ("native", "unfold", "fft"))
            for form, own in results.items():
                print(row(f"{side}x{side}, kernel {kernel}x{kernel}", form, own, results["native"]), flush=True)
            for place, kernels in enumerate(faster):
                kernels += [kernel] if results["fft"][place] < results["native"][place] else []
        texts = [", ".join(f"{k}x{k}" for k in kernels) or "none" for kernels in faster]
        notes.append(f"{side}x{side}: FFT beats native forward with kernels {texts[0]}; and backward with {texts[1]}")
    print("\n" + "\n".join(notes))


if __name__ == "__main__":
    main()
