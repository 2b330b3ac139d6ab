"""Attributions: how much each pixel contributes to a network's output, as pure functions of network and images.

model: any module from float grey levels (B, C, H, W) to (B, K); gradients are per grey level, 0..255 for the networks
of `load_model`. images: (B, C, H, W), any real dtype. targets: the output column to explain, int64 (B,); None takes
each image's largest output. Outputs are explained as they are: logits, not probabilities, which saturate.
batch_size: images per forward pass; affects memory only.
Maps are unscaled floats on the images' device. The model keeps its mode, gradients and hooks.
"""

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor, nn

from src.errors import integer, number, positive_int
from src.insight.grad_cam import BATCH_SIZE, grad_cam, resolve_targets
from src.models.structure import eval_mode, predict_logits


def gradient(model: nn.Module, images: Tensor, targets: Tensor | None = None, batch_size: int = BATCH_SIZE) -> Tensor:
    """d output / d grey level, signed: (B, C, H, W)."""
    targets = resolve_targets(model, images, targets, batch_size)
    with eval_mode(model):
        batches = zip(images.split(batch_size), targets.split(batch_size), strict=True)
        return torch.cat([_input_gradient(model, batch.detach().float(), columns) for batch, columns in batches])


def _input_gradient(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    images = images.clone().requires_grad_()
    score = model(images).gather(1, targets.unsqueeze(1)).sum()
    if not score.requires_grad:  # the output does not depend on the image
        return torch.zeros_like(images)
    return torch.autograd.grad(score, images, materialize_grads=True)[0]


def saliency(model: nn.Module, images: Tensor, targets: Tensor | None = None, batch_size: int = BATCH_SIZE) -> Tensor:
    """Largest absolute gradient over channels: (B, 1, H, W) (Simonyan et al. 2013, arXiv:1312.6034)."""
    return gradient(model, images, targets, batch_size).abs().amax(1, keepdim=True)


def integrated_gradients(
    model: nn.Module,
    images: Tensor,
    targets: Tensor | None = None,
    baseline: Tensor | float = 0.0,
    steps: int = 64,
    batch_size: int = BATCH_SIZE,
) -> Tensor:
    """Image minus baseline, times the mean gradient on the straight path between them: (B, C, H, W) (Sundararajan et
    al. 2017, arXiv:1703.01365). Each map sums to output(image) - output(baseline), up to `completeness_error`.

    baseline: 0 is black, an image without ink; or a tensor that broadcasts to the images.
    steps: points on the path, the midpoints of equal intervals; more steps reduce the error.
    """
    positive_int("steps", steps)
    targets = resolve_targets(model, images, targets, batch_size)
    images = images.detach().float()
    baselines = torch.as_tensor(baseline, dtype=images.dtype, device=images.device).expand_as(images)
    fractions = (torch.arange(steps, device=images.device) + 0.5) / steps
    maps = []
    with eval_mode(model):
        for image, start, target in zip(images, baselines, targets, strict=True):
            total = torch.zeros_like(image)
            for chunk in fractions.split(batch_size):
                points = start + chunk.view(-1, 1, 1, 1) * (image - start)
                total += _input_gradient(model, points, target.expand(len(chunk))).sum(0)
            maps.append((image - start) * total / steps)
    return torch.stack(maps)


def completeness_error(
    model: nn.Module,
    images: Tensor,
    maps: Tensor,
    targets: Tensor | None = None,
    baseline: Tensor | float = 0.0,
    batch_size: int = BATCH_SIZE,
) -> Tensor:
    """Sum of each map minus the true output(image) - output(baseline): (B,), in units of the output."""
    columns = resolve_targets(model, images, targets, batch_size).unsqueeze(1)
    baselines = torch.as_tensor(baseline, dtype=torch.float32, device=images.device).expand(images.shape)
    of_images = predict_logits(model, images, batch_size).gather(1, columns)
    of_baselines = predict_logits(model, baselines, batch_size).gather(1, columns)
    return maps.sum((1, 2, 3)) - (of_images - of_baselines).squeeze(1)


def smooth_grad(
    model: nn.Module,
    images: Tensor,
    targets: Tensor | None = None,
    noise: float = 0.15,
    samples: int = 32,
    seed: int = 0,
    batch_size: int = BATCH_SIZE,
) -> Tensor:
    """Mean gradient over noisy copies, signed: (B, C, H, W) (Smilkov et al. 2017, arXiv:1706.03825).

    noise: standard deviation as a fraction of the image's range of grey levels, 0.1 to 0.2 in the paper. seed: of the
    noise, which is the same for every image, so that a map does not depend on the other images.
    """
    number("noise", noise, 0)
    positive_int("samples", samples)
    targets = resolve_targets(model, images, targets, batch_size)
    images = images.detach().float()
    std = noise * (images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True))
    generator, total = torch.Generator().manual_seed(seed), torch.zeros_like(images)
    for _ in range(samples):
        sample = torch.randn(images.shape[1:], generator=generator).to(images.device)
        total += gradient(model, images + std * sample, targets, batch_size)
    return total / samples


def occlusion(
    model: nn.Module,
    images: Tensor,
    targets: Tensor | None = None,
    patch_px: int | None = None,
    stride_px: int | None = None,
    batch_size: int = BATCH_SIZE,
) -> Tensor:
    """How far the output falls when a square is black: (B, 1, H, W), the mean over the squares that cover a pixel
    (after Zeiler & Fergus 2014, arXiv:1311.2901).

    patch_px: side of the square; None takes a sixth of the image. stride_px: from one square to the next; None takes
    half the side, and more than the side would leave pixels out.
    """
    height, width = images.shape[2:]
    patch = patch_px if patch_px is not None else max(1, round(min(height, width) / 6))
    integer("patch_px", patch, 1, min(height, width))
    stride = stride_px if stride_px is not None else max(1, patch // 2)
    integer("stride_px", stride, 1, patch)
    starts = [sorted({*range(0, side - patch, stride), side - patch}) for side in (height, width)]
    columns = resolve_targets(model, images, targets, batch_size).unsqueeze(1)
    uncovered = predict_logits(model, images, batch_size).gather(1, columns)
    total = images.new_zeros(len(images), 1, height, width, dtype=uncovered.dtype)
    count = torch.zeros_like(total)
    for top, left in product(*starts):
        window = (..., slice(top, top + patch), slice(left, left + patch))
        covered = images.detach().float().clone()
        covered[window] = 0
        total[window] += (uncovered - predict_logits(model, covered, batch_size).gather(1, columns)).view(-1, 1, 1, 1)
        count[window] += 1
    return total / count


METHODS: dict[str, Callable[..., Tensor]] = {
    "saliency": saliency,
    "integrated_gradients": integrated_gradients,
    "smooth_grad": smooth_grad,
    "grad_cam": grad_cam,
    "occlusion": occlusion,
}
