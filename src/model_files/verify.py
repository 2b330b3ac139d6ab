"""Whether an exported file answers as the network it came from."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

# Sums in another order: with five looks at MNIST's test images, set upright, 3e-6 of probabilities and 8e-6 of logits.
TOLERANCE = 1e-4  # of probabilities, of a number over info.scale, of logits as a share of the largest one or of 1
RANDOM = 256
Answers = Callable[[Tensor], tuple[Tensor, Tensor]]


def outputs_of(net: nn.Module) -> Answers:
    """A loaded network as a function of images to (probabilities or numbers in their unit, logits)."""

    def answers(images: Tensor) -> tuple[Tensor, Tensor]:
        logits = net(images)
        return (logits * net.info.scale if net.info.target else net.probs(images)), logits

    return answers


def compare_outputs(net: nn.Module, others: dict[str, Answers], batches: Iterable[Tensor]) -> dict:
    """The largest differences between `net` and others, by name, over uint8 images in batches (B, C, H, W).

    images: how many there were; changed: of how many the decision is another one (None for numbers); probabilities (or
    value, over info.scale) and logits: the largest difference; largest_logit: of `net`, by size; same: whether nothing
    is changed and both are within TOLERANCE. Of several others, the worst of each.
    """
    first, scale = ("value", net.info.scale) if net.info.target else ("probabilities", 1.0)
    found = {"images": 0, "changed": None if net.info.target else 0, first: 0.0, "logits": 0.0, "largest_logit": 0.0}
    own = outputs_of(net)
    with torch.inference_mode():
        for images in batches:
            wanted = own(images)
            found["images"] += len(images)
            found["largest_logit"] = max(found["largest_logit"], float(wanted[1].abs().max()))
            for answer in others.values():
                given = answer(images)
                for name, a, b in zip((first, "logits"), wanted, given, strict=True):
                    off = float((a - b).abs().max()) / (scale if name == "value" else 1.0)
                    found[name] = max(found[name], off if off == off else float("inf"))
                if not net.info.target:
                    both = [(a.argmax(1) != b.argmax(1)).sum() for a, b in zip(wanted, given, strict=True)]
                    found["changed"] = max(found["changed"], *map(int, both))
    near = found[first] <= TOLERANCE and found["logits"] <= TOLERANCE * max(1.0, found["largest_logit"])
    found["same"] = near and not found["changed"]
    return found


def random_images(shape: tuple[int, int, int]) -> list[Tensor]:
    """Noise, and blocks of one grey level, as two batches of uint8 (RANDOM / 2, C, H, W); always the same."""
    draw = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (RANDOM // 2, *shape), dtype=torch.uint8, generator=draw)
    coarse = torch.randint(0, 256, (RANDOM // 2, shape[0], 7, 7), generator=draw).float()
    blocks = torch.nn.functional.interpolate(coarse, shape[1:], mode="nearest").byte()
    return [noise, blocks]
