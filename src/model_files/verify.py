"""Whether an exported file computes what its network computes."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from src.inference.model import Predictor

# Sums in another order: with five views of MNIST's test images, deslanted, 3e-6 of probabilities and 8e-6 of logits.
TOLERANCE = 1e-4  # of probabilities, of a value over info.scale, of logits as a share of the largest one or of 1
Outputs = Callable[[Tensor], tuple[Tensor, Tensor]]


def outputs_of(net: Predictor) -> Outputs:
    """A network as a function of images to (predictions, logits), as an exported graph is one."""
    return lambda images: (net.probs(images), net(images))


def compare_outputs(net: Predictor, others: dict[str, Outputs], batches: Iterable[Tensor]) -> dict[str, Any]:
    """The largest differences between `net` and others, by name, over uint8 images in batches (B, C, H, W).

    images: their number. changed: of how many the predicted class differs; None for a regression target. probabilities
    (or value, over info.scale) and logits: the largest difference. largest_logit: of `net`, its absolute value. same:
    whether no class differs and both differences are within TOLERANCE. Of several others, the worst of each.
    """
    reference, output = outputs_of(net), net.info.output
    count, changed, largest_logit, worst = 0, 0, 0.0, [0.0, 0.0]
    scales = [output.scale, 1.0]
    with torch.inference_mode():
        for images in batches:
            expected = reference(images)
            count += len(images)
            largest_logit = max(largest_logit, float(expected[1].abs().max()))
            for outputs in others.values():
                pairs = list(zip(expected, outputs(images), strict=True))
                differences = [float((a - b).abs().max()) / scale for (a, b), scale in zip(pairs, scales, strict=True)]
                # nan != nan: an output that is no number is infinitely far off
                worst = [max(w, d if d == d else float("inf")) for w, d in zip(worst, differences, strict=True)]
                changed = max(changed, *(int((a.argmax(1) != b.argmax(1)).sum()) for a, b in pairs))
    return {
        "images": count,
        "changed": None if output.is_number else changed,
        output.output_name: worst[0],
        "logits": worst[1],
        "largest_logit": largest_logit,
        "same": worst[0] <= TOLERANCE and worst[1] <= TOLERANCE * max(1.0, largest_logit) and not changed,
    }


def random_images(shape: tuple[int, int, int]) -> list[Tensor]:
    """Noise, and blocks of one grey level, as two batches of uint8 (128, C, H, W); always the same."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (128, *shape), dtype=torch.uint8, generator=generator)
    coarse = torch.randint(0, 256, (128, shape[0], 7, 7), generator=generator).float()
    return [noise, torch.nn.functional.interpolate(coarse, shape[1:], mode="nearest").byte()]
