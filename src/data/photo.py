"""Label-preserving changes to photographs, one draw per image, on whole batches, on the device of the images."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from src.errors import fraction, number

GREY = (0.299, 0.587, 0.114)  # weights of red, green and blue in the grey level (ITU-R BT.601)


class Photo:
    """Random resized crop with rotation, horizontal flip, colour jitter, random erasing; (B, 1 or 3, H, W).

    min_area: least share of the image that a crop shows (Szegedy et al. 2015, arXiv:1409.4842); ratio: largest change
    of its width over its height; rotate_deg: largest angle, degrees, at most 180. Uncovered pixels are a reflection.
    flip, erase: probabilities; an erased rectangle (Zhong et al. 2020, arXiv:1708.04896) of 2 to 20 % of the area gets
    the mean colour of its image. brightness, contrast, saturation: largest relative change; hue: largest turn of the
    colour circle, as a share of it, at most 0.5. Saturation and hue need three channels.
    """

    def __init__(
        self,
        min_area: float = 0.35,
        ratio: float = 1.33,
        rotate_deg: float = 10.0,
        flip: float = 0.5,
        brightness: float = 0.3,
        contrast: float = 0.3,
        saturation: float = 0.3,
        hue: float = 0.02,
        erase: float = 0.25,
    ):
        self.min_area = fraction("augment.min_area", min_area, zero=False)
        self.ratio = number("augment.ratio", ratio, 1)
        self.rotate = math.radians(number("augment.rotate_deg", rotate_deg, 0, 180))
        self.flip, self.erase = fraction("augment.flip", flip), fraction("augment.erase", erase)
        self.brightness = fraction("augment.brightness", brightness)
        self.contrast = fraction("augment.contrast", contrast)
        self.saturation = fraction("augment.saturation", saturation)
        self.hue = number("augment.hue", hue, 0, 0.5)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        draw = torch.rand(16, len(images), generator=generator, device=images.device)
        moved = F.grid_sample(images.float(), self._grid(images, draw), padding_mode="reflection", align_corners=False)
        coloured = self._jitter(moved, draw[6:10] * 2 - 1)
        return self._erase(coloured, draw[10:]).clamp(0, 255)

    def _grid(self, images: Tensor, draw: Tensor) -> Tensor:
        """The input position of each output pixel, in the normalised coordinates of `grid_sample`: (B, H, W, 2)."""
        height, width = images.shape[2:]
        area = 1 - draw[0] * (1 - self.min_area)
        stretch = torch.exp((draw[1] * 2 - 1) * math.log(self.ratio) / 2)
        across, down = (area.sqrt() * stretch).clamp(max=1), (area.sqrt() / stretch).clamp(max=1)  # shares of the sides
        angle = (draw[2] * 2 - 1) * self.rotate
        mirror = torch.where(draw[5] < self.flip, -1.0, 1.0)
        cos, sin, aspect = angle.cos(), angle.sin(), width / height
        matrix = torch.stack(
            [
                cos * across * mirror, -sin * down / aspect, (draw[3] * 2 - 1) * (1 - across),
                sin * across * mirror * aspect, cos * down, (draw[4] * 2 - 1) * (1 - down),
            ],
            1,
        )  # fmt: skip
        return F.affine_grid(matrix.view(-1, 2, 3), list(images.shape), align_corners=False)

    def _jitter(self, images: Tensor, draw: Tensor) -> Tensor:
        """Colours times one matrix per image, plus one offset."""
        channels = images.shape[1]
        gain = ((1 + draw[0] * self.brightness) * (1 + draw[1] * self.contrast)).view(-1, 1, 1)
        matrix = torch.eye(channels, device=images.device).expand(len(images), -1, -1)
        if channels == 3:
            luma = images.new_tensor(GREY).expand(3, 3)
            # Turns about the grey axis (Rodrigues); saturation moves colours towards it or away from it.
            angle = (draw[3] * self.hue * 2 * math.pi).view(-1, 1, 1)
            cross = images.new_tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
            turn = angle.cos() * matrix + angle.sin() * cross + (1 - angle.cos()) / 3
            vivid = (1 + draw[2] * self.saturation).view(-1, 1, 1)
            matrix = (vivid * matrix + (1 - vivid) * luma) @ turn
        mean = images.mean((1, 2, 3)).view(-1, 1, 1)  # contrast keeps the mean
        offset = mean * (1 + draw[0] * self.brightness).view(-1, 1, 1) - mean * gain
        return (gain * matrix @ images.flatten(2) + offset).view_as(images)

    def _erase(self, images: Tensor, draw: Tensor) -> Tensor:
        if self.erase == 0:
            return images
        height, width = images.shape[2:]
        area = 0.02 + draw[1] * 0.18
        stretch = torch.exp((draw[2] * 2 - 1) * math.log(3.3) / 2)
        inside = []
        for side, share, start in ((height, area.sqrt() / stretch, draw[3]), (width, area.sqrt() * stretch, draw[4])):
            length = (share.clamp(max=1) * side).view(-1, 1)
            first = start.view(-1, 1) * (side - length)
            pixel = torch.arange(side, device=images.device)
            inside.append((pixel >= first) & (pixel < first + length))
        hole = inside[0].unsqueeze(2) & inside[1].unsqueeze(1) & (draw[0] < self.erase).view(-1, 1, 1)
        return torch.where(hole.unsqueeze(1), images.mean((2, 3), keepdim=True), images)
