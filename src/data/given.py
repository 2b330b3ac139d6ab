"""Pictures that a user points at: found, read, and brought to what a network reads."""

import glob
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from src.data.folder import SUFFIXES, read_picture
from src.data.ink import to_mnist_form
from src.data.source import Facts
from src.errors import InputError, require

INKS = ("auto", "mnist", "none")
WRITTEN = ("mnist", "qmnist", "emnist", "usps", "digits")  # data sets of light ink on dark ground
LARGEST = 512  # side that ink is looked for in, pixels
FAINT = 200  # ink whose strongest pixel is below this grey level is made stronger


def find_pictures(given: str | Sequence[str]) -> list[Path]:
    """The files that names, folders (searched through, by suffix) and patterns with * stand for; each once.

    Raises InputError for a name or a pattern without any file, or a folder without pictures.
    """
    found: dict[Path, None] = {}
    for word in [given] if isinstance(given, str) else given:
        require(
            isinstance(word, str) and bool(word), f"images={word}: files, folders, or patterns such as 'digits/*.png'"
        )
        path = Path(word).expanduser()
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            require(bool(inside), f"images={word}: the folder holds no pictures ({', '.join(sorted(SUFFIXES))})")
        elif path.is_file():
            inside = [path]
        else:
            inside = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())
            require(bool(inside), f"images={word}: there is no such file, folder or pattern")
        found |= dict.fromkeys(inside)
    return list(found)


def choose_ink(asked: str, facts: Facts, data: str | None, trained_ink: str | None) -> bool:
    """Whether pictures are to be brought to MNIST's form, for a network trained on the data set `data` with its `ink`.

    asked: mnist, none, or auto, which takes it for a network of written characters, 1x28x28.
    Raises InputError for another word, or a network that does not read that form.
    """
    require(asked in INKS, f"ink={asked}: one of {', '.join(INKS)}")
    fits = facts.shape == (1, 28, 28)
    if asked == "mnist":
        shape = "x".join(map(str, facts.shape))
        require(fits, f"ink=mnist makes pictures of 1x28x28, this network reads {shape}: give ink=none")
    return fits and (asked == "mnist" or (asked == "auto" and (data in WRITTEN or trained_ink == "mnist")))


def read_given(paths: Sequence[Path], facts: Facts, ink: bool) -> Tensor:
    """The pictures as a network of `facts` reads them, uint8 (N, C, H, W).

    ink: lighten what is dark on light paper, take the paper away, and bring the ink to MNIST's form; without it, as
    data=folder reads them.
    Raises InputError naming the first file that is no picture, or that has no ink.
    """
    channels, height, width = facts.shape
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)  # huge ones are an error, not two lines more
        try:
            if ink:
                pages = [lifted(read_picture(path, LARGEST, 1, enlarge=False)) for path in paths]
                for path, page in zip(paths, pages, strict=True):
                    require(bool(page.any()), f"{path} holds no ink: it is of one grey; ink=none reads it as it is")
                return torch.cat([to_mnist_form(page) for page in pages])
            require(height == width, f"this network reads {height}x{width}: pictures of files are square")
            return torch.stack([read_picture(path, height, channels) for path in paths])
        except Image.DecompressionBombWarning as error:
            raise InputError(f"images: {error}") from None


def lifted(picture: Tensor) -> Tensor:
    """Light ink on black of a grey picture (1, H, W), as uint8 (1, 1, H, W).

    The ground is the median of the border; ink is what lies farther from it, above or below. Where the border is not
    of one grey, it is paper: its own grey is estimated around each pixel, over a third of the picture, so that a shadow
    goes with it, and of what is left the faintest quarter is cut off. Faint ink is stretched to white. Light ink on
    plain black stays as it is.
    """
    grey = picture[0].float()
    border = torch.cat([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    ground = border.median()
    if ground - grey.min() > grey.max() - ground:  # dark ink
        grey, border, ground = 255 - grey, 255 - border, 255 - ground
    ink = grey - ground
    if torch.quantile((border - ground).abs(), 0.9) > 0:
        ink = grey - _paper(grey)
        ink = torch.where(ink > 0.25 * ink.max(), ink, 0)
    top = float(ink.max())
    if 0 < top < FAINT:
        ink = ink * (255 / top)
    return ink.round().clamp(0, 255).to(torch.uint8).view(1, 1, *grey.shape)


def _paper(grey: Tensor) -> Tensor:
    """The ground under light ink: darkest around each pixel, then smoothed. (H, W) to (H, W)."""
    window = min(grey.shape) // 3 | 1
    padded = F.pad(grey[None, None], (window - 1,) * 4, mode="replicate")
    darkest = -padded
    for sides in ((window, 1), (1, window)):  # a square at once takes 50 times as long at 400x400
        darkest = F.max_pool2d(darkest, sides, 1)
    darkest = -darkest
    for sides in ((window, 1), (1, window)):
        darkest = F.avg_pool2d(darkest, sides, 1)
    return darkest[0, 0]
