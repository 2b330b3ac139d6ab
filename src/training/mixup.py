"""Mixup and cutmix."""

import torch
from torch import Tensor, nn


def mix(images: Tensor, labels: Tensor, classes: int, mixup: float, cutmix: float) -> tuple[Tensor, Tensor]:
    """Images blended with, or patched from, a shuffled batch; target probabilities (B, K) in the same shares.

    images: (B, C, H, W); labels: (B,). mixup, cutmix: alpha of the Beta distribution of the share, 0 for none, not
    both 0 (Zhang et al. 2018, arXiv:1710.09412; Yun et al. 2019, arXiv:1905.04899).
    Draws from torch's global generator; on a GPU the order comes from the GPU's generator.
    """
    cut = bool(cutmix) and (not mixup or bool(torch.rand(()) < 0.5))
    alpha = torch.tensor(float(cutmix if cut else mixup))
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    order = torch.randperm(len(images), device=images.device)
    if cut:
        height, width = images.shape[2:]
        high, wide = round(height * (1 - share) ** 0.5), round(width * (1 - share) ** 0.5)
        top = int(torch.randint(height - high + 1, ()))
        left = int(torch.randint(width - wide + 1, ()))
        images = images.clone()
        images[:, :, top : top + high, left : left + wide] = images[order, :, top : top + high, left : left + wide]
        share = 1 - high * wide / (height * width)
    else:
        images = images * share + images[order] * (1 - share)
    probs = nn.functional.one_hot(labels, classes).to(images.dtype)
    return images, probs * share + probs[order] * (1 - share)
