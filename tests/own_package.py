"""A package of a user's own: networks, a loss, a callback, augmentations, a metric and a data set."""

from pathlib import Path

import numpy as np

NETS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, shape, num_classes, width=8):
        super().__init__()
        rate = [float(value) for value in torch.linspace(0, 0.1, 3)][-1]  # values: not on the meta device
        self.body = nn.Sequential(
            nn.Conv2d(shape[0], width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(4),
            nn.Flatten(), nn.Dropout(rate),
        )
        self.head = nn.Linear(16 * width, num_classes)

    def forward(self, images):
        return self.head(self.body(images))


class Viewing(Net):
    def forward(self, images):
        return self.head(self.body[:4](images).view(len(images), -1))


class Bare(nn.Module):
    def __init__(self, width=3):
        super().__init__()


class Auxiliary(Net):
    def forward(self, images):
        logits = super().forward(images)
        return (logits, logits) if self.training else logits


class OneMore(Net):
    def __init__(self, shape, num_classes):
        super().__init__(shape, num_classes + 1)


class Failing(Net):
    def forward(self, images):
        raise KeyError("no such layer")


class Changing(Net):
    count = 0

    def __init__(self, shape, num_classes):
        Changing.count += 1
        super().__init__(shape, num_classes, width=4 + Changing.count)


class NoNetwork:
    def __init__(self, shape, num_classes):
        pass


def make_net(shape, num_classes):
    return Net(shape, num_classes)
"""
PARTS = """
import torch
from lightning.pytorch import Callback
from torch import nn
from torchmetrics import MeanMetric


class Loss(nn.Module):
    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = scale

    def forward(self, logits, targets):
        return self.scale * nn.functional.cross_entropy(logits, targets)


class UnreducedLoss(nn.Module):
    def forward(self, logits, targets):
        return nn.functional.cross_entropy(logits, targets, reduction="none")


class LearnedLoss(Loss):
    def __init__(self):
        super().__init__()
        self.centers = nn.Parameter(torch.zeros(3))


class Counter(Callback):
    def __init__(self):
        self.epochs = 0

    def on_train_epoch_end(self, trainer, task):
        self.epochs += 1

    def state_dict(self):
        return {"epochs": self.epochs}

    def load_state_dict(self, state):
        self.epochs = state["epochs"]


class Flip:
    def __call__(self, images, generator):
        flipped = torch.rand(len(images), generator=generator, device=images.device) < 0.5
        return torch.where(flipped.view(-1, 1, 1, 1), images.flip(3), images)


class GlobalNoise:
    def __call__(self, images, generator):
        return images ^ torch.randint_like(images, 4)


class Confidence(MeanMetric):
    higher_is_better = False

    def update(self, probs, labels):
        super().update(probs.max(1).values)
"""


def write_package(folder: Path, name: str = "ownpackage") -> Path:
    """The package in `folder`, which belongs on the import path, and an option model=own beside it in conf/."""
    package = folder / name
    package.mkdir(parents=True)
    for file, text in (
        ("__init__", ""),
        ("nets", NETS),
        ("parts", PARTS),
        ("broken", "1 / 0"),
        ("needs", "import nowhere"),
    ):
        (package / f"{file}.py").write_text(text)
    (folder / "conf/model").mkdir(parents=True)
    (folder / "conf/model/own.yaml").write_text(f"# A network of our own.\n_target_: {name}.nets.Net\nwidth: 6\n")
    return folder


def draw_pictures(folder: Path, per_class: int = 30, side: int = 24) -> Path:
    """Colour pictures of two classes in folders: a disc or a bar of any colour on noise."""
    from PIL import Image, ImageDraw

    draw = np.random.default_rng(0)
    for name in ("bar", "disc"):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            picture = Image.fromarray(draw.integers(0, 80, (side, side, 3), dtype=np.uint8))
            colour, (x, y) = tuple(draw.integers(150, 256, 3).tolist()), draw.integers(2, side // 3, 2).tolist()
            shape = ImageDraw.Draw(picture)
            if name == "disc":
                shape.ellipse((x, y, x + side // 2, y + side // 2), fill=colour)
            else:
                shape.rectangle((x, y, x + side // 2, y + 3), fill=colour)
            picture.save(folder / name / f"{number}.png")
    return folder
