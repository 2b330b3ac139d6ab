"""Which pixels a network's answer hangs on: pure functions from a network and images to maps.

model: any module from (B, C, H, W) real grey levels to (B, K); gradients are per grey level, so of an image of 0..255
that `load_model`'s networks read. images: (B, C, H, W), any real dtype. targets: the column of the answer that is
explained, int64 (B,); None takes the largest one of each image. Answers are taken as they come: logits, not
probabilities, which saturate. batch: images that the network sees at once; affects memory only.
Maps are float, not scaled, on the images' device. The model is left as it was: mode, gradients and hooks.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from src.errors import is_integer, is_number, require
from src.insight.eval_mode import BATCH, eval_mode, predict_logits, resolve_targets
from src.insight.grad_cam import grad_cam


def gradient(model: nn.Module, images: Tensor, targets: Tensor | None = None, batch: int = BATCH) -> Tensor:
    """d answer / d grey level, with its sign: (B, C, H, W)."""
    targets = resolve_targets(model, images, targets, batch)
    with eval_mode(model):
        parts = zip(images.split(batch), targets.split(batch), strict=True)
        return torch.cat([_slope(model, some.detach().float(), columns) for some, columns in parts])


def _slope(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    images = images.clone().requires_grad_()
    score = model(images).gather(1, targets.unsqueeze(1)).sum()
    if not score.requires_grad:  # the answer does not hang on the image at all
        return torch.zeros_like(images)
    (slope,) = torch.autograd.grad(score, images, allow_unused=True)
    return torch.zeros_like(images).detach() if slope is None else slope.detach()


def saliency(model: nn.Module, images: Tensor, targets: Tensor | None = None, batch: int = BATCH) -> Tensor:
    """Largest size of the gradient over channels: (B, 1, H, W) (Simonyan et al. 2013, arXiv:1312.6034)."""
    return gradient(model, images, targets, batch).abs().amax(1, keepdim=True)


def integrated_gradients(
    model: nn.Module,
    images: Tensor,
    targets: Tensor | None = None,
    baseline: Tensor | float = 0.0,
    steps: int = 64,
    batch: int = BATCH,
) -> Tensor:
    """Image minus baseline, times the mean gradient on the way between them: (B, C, H, W) (Sundararajan et al. 2017,
    arXiv:1703.01365). The map's sum is answer(image) - answer(baseline), up to `completeness_error`.

    baseline: 0 is black ground, an image without ink; or a tensor that broadcasts to the images.
    steps: points of the way, the middles of as many equal parts; more bring the sum nearer.
    """
    require(is_integer(steps) and steps >= 1, f"steps={steps}: a whole number of at least 1")
    targets = resolve_targets(model, images, targets, batch)
    images = images.detach().float()
    baseline = torch.as_tensor(baseline, dtype=images.dtype, device=images.device).expand_as(images)
    shares = (torch.arange(steps, device=images.device) + 0.5) / steps
    maps = []
    with eval_mode(model):
        for image, ground, target in zip(images, baseline, targets, strict=True):
            total = torch.zeros_like(image)
            for some in shares.split(batch):
                points = ground + some.view(-1, 1, 1, 1) * (image - ground)
                total += _slope(model, points, target.expand(len(some))).sum(0)
            maps.append((image - ground) * total / steps)
    return torch.stack(maps)


def completeness_error(
    model: nn.Module,
    images: Tensor,
    maps: Tensor,
    targets: Tensor | None = None,
    baseline: Tensor | float = 0.0,
    batch: int = BATCH,
) -> Tensor:
    """Sum of each map minus what it should be, answer(image) - answer(baseline): (B,), in units of the answer."""
    columns = resolve_targets(model, images, targets, batch).unsqueeze(1)
    ground = torch.as_tensor(baseline, dtype=torch.float32, device=images.device).expand(images.shape)
    there = predict_logits(model, images, batch).gather(1, columns)
    here = predict_logits(model, ground, batch).gather(1, columns)
    return maps.sum((1, 2, 3)) - (there - here).squeeze(1)


def smooth_grad(
    model: nn.Module,
    images: Tensor,
    targets: Tensor | None = None,
    noise: float = 0.15,
    samples: int = 32,
    seed: int = 0,
    batch: int = BATCH,
) -> Tensor:
    """Mean gradient over noisy copies, with its sign: (B, C, H, W) (Smilkov et al. 2017, arXiv:1706.03825).

    noise: standard deviation over the span of the image's grey levels, 0.1 to 0.2 in the paper. seed: of the noise,
    which is the same for every image, so that an image's map does not hang on those beside it.
    """
    require(is_number(noise) and noise >= 0, f"noise={noise}: 0 or more")
    require(is_integer(samples) and samples >= 1, f"samples={samples}: a whole number of at least 1")
    targets = resolve_targets(model, images, targets, batch)
    images = images.detach().float()
    spread = noise * (images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True))
    generator, total = torch.Generator().manual_seed(seed), torch.zeros_like(images)
    for _ in range(samples):
        drawn = torch.randn(images.shape[1:], generator=generator).to(images.device)
        total += gradient(model, images + spread * drawn, targets, batch)
    return total / samples


def occlusion(
    model: nn.Module,
    images: Tensor,
    targets: Tensor | None = None,
    patch_px: int | None = None,
    stride_px: int | None = None,
    fill: float = 0.0,
    batch: int = BATCH,
) -> Tensor:
    """How far the answer falls when a square is covered: (B, 1, H, W), the mean over the squares that cover a pixel
    (after Zeiler & Fergus 2014, arXiv:1311.2901).

    patch_px: side of the square, None for about a sixth of the image; stride_px: from one to the next, None for half
    of it. fill: grey level of the square, 0 is the ground of light digits.
    """
    height, width = images.shape[2:]
    patch = patch_px if patch_px is not None else max(1, round(min(height, width) / 6))
    require(is_integer(patch) and 1 <= patch <= min(height, width), f"patch_px={patch}: 1 to {min(height, width)}")
    stride = stride_px if stride_px is not None else max(1, patch // 2)
    require(is_integer(stride) and 1 <= stride <= patch, f"stride_px={stride}: 1 to {patch}, or pixels are left out")
    corners = [(top, left) for top in _starts(height, patch, stride) for left in _starts(width, patch, stride)]
    columns = resolve_targets(model, images, targets, batch).unsqueeze(1)
    whole = predict_logits(model, images, batch).gather(1, columns)
    total, times = images.new_zeros(len(images), 1, height, width, dtype=whole.dtype), 0
    times = torch.zeros_like(total)
    for top, left in corners:
        window = (..., slice(top, top + patch), slice(left, left + patch))
        covered = images.detach().float().clone()
        covered[window] = fill
        total[window] += (whole - predict_logits(model, covered, batch).gather(1, columns)).view(-1, 1, 1, 1)
        times[window] += 1
    return total / times


def _starts(side: int, patch: int, stride: int) -> list[int]:
    return sorted({*range(0, side - patch, stride), side - patch})


METHODS: dict[str, Callable[..., Tensor]] = {
    "saliency": saliency,
    "integrated_gradients": integrated_gradients,
    "smooth_grad": smooth_grad,
    "grad_cam": grad_cam,
    "occlusion": occlusion,
}
