"""Test-time augmentation: the mean prediction over rotated and scaled copies of an image."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

VIEW_COUNTS = (1, 5)
# With experiment=lenet, two seeds, 10,000 validation images: 46 and 47 errors with one view, 41 and 37 with these five,
# 43 and 37 with 5 degrees and 5 %, 44 and 40 where copies are either rotated or scaled.
ROTATE_DEG, SCALE = 7.0, 0.06


def tta_views(images: Tensor) -> Tensor:
    """Each image as it is, and four copies: rotated by 7 degrees either way, times scaled by 6 % up or down.

    (B, C, H, W) of any real dtype to float32 (5 * B, C, H, W), one view of all images after the other; bilinear, about
    the centre; pixels from outside the image are 0.
    """
    views = [images.float()]
    for angle in (-math.radians(ROTATE_DEG), math.radians(ROTATE_DEG)):
        for scale in (1 - SCALE, 1 + SCALE):
            cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
            matrix = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]], device=images.device)
            grid = F.affine_grid(matrix.unsqueeze(0), [1, *images.shape[1:]], align_corners=False)
            views.append(F.grid_sample(views[0], grid.expand(images.shape[0], -1, -1, -1), align_corners=False))
    return torch.cat(views)


def average_views(logits: Tensor) -> Tensor:
    """The mean log-probabilities (B, K) over the views of each image, from their logits (5 * B, K)."""
    return logits.log_softmax(1).unflatten(0, (VIEW_COUNTS[-1], -1)).mean(0)
