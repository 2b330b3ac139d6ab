"""The section on normalisation and augmentation."""

import math

import torch
from torch import Tensor

from src.data.augment import Identity
from src.dataset_report import figures, image_grids
from src.dataset_report.context import ReportContext, ReportFigure, Section, Table
from src.dataset_report.ink_measures import measure_ink
from src.dataset_report.wording import pluralize

SHOWN, MEASURED = 10, 512  # images drawn after each augmentation; images measured before and after it
HEADER = {"mass": "ink, px", "slant": "slant, °", "stroke": "stroke, px", "right": "sideways, px"}


def augment_section(context: ReportContext) -> Section:
    """What normalisation and each augmentation do to the same images."""
    train = context.data.train
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(context.seed))
    per_class = image_grids.sample_per_class(train.labels, len(context.class_names), 1, context.seed)
    first = torch.cat(per_class)
    shown = train.images[torch.cat([first, order[~torch.isin(order, first)]])[:SHOWN]]
    measured = train.images[order[:MEASURED]]
    changes = _measure_changes(context, measured)
    rows = [
        [name, *("–" if math.isnan(value) else f"{value:.1f}" for value in values.values())]
        for name, values in changes.items()
    ]
    numbers = {
        name: {key: None if math.isnan(value) else round(value, 3) for key, value in values.items()}
        for name, values in changes.items()
    }
    caption = (
        f"How much each augmentation changes {pluralize(len(measured), 'image')}: the mean absolute change of a grey "
        "level, then the median absolute change of each measure."
    )
    table = Table(["augment=", "grey levels", *HEADER.values()], rows, caption)
    section = Section("Normalisation and augmentation", [], [_augmented(context, shown)], [table], numbers)
    if context.normalize is not None:
        _add_normalization(context, section, shown, measured)
    return section


def _augmented(context: ReportContext, images: Tensor) -> ReportFigure:
    """The images, and below them two draws of each augmentation."""
    cells, row_names = [images.float()], ["original"]
    for name, augmentation in context.augmentations.items():
        generator = torch.Generator().manual_seed(context.seed)
        draws = 1 if isinstance(augmentation, Identity) else 2
        cells += [augmentation(images, generator).float() for _ in range(draws)]
        row_names += [name] + [""] * (draws - 1)
    pictures = image_grids.to_rgb(torch.cat(cells).clamp(0, 255))
    caption = (
        "The first row shows the original images, the rows below two draws of each augmentation, with seed "
        f"{context.seed}. If a change makes you doubt the class, it is too strong."
    )
    table = image_grids.picture_table(pictures, len(images), row_names)
    return ReportFigure("augmentations", table, "The same images after each augmentation.", caption)


def _measure_changes(context: ReportContext, images: Tensor) -> dict[str, dict[str, float]]:
    """Augmentation -> mean change of a grey level, and median change of each ink measure (NaN without ink)."""
    before, changes = measure_ink(images), {}
    for name, augmentation in context.augmentations.items():
        generator = torch.Generator().manual_seed(context.seed)
        augmented = augmentation(images, generator).float().clamp(0, 255)
        after = measure_ink(augmented)
        changes[name] = {"mean_change": float((augmented - images.float()).abs().mean())}
        for measure in HEADER:
            changes[name][measure] = float((after[measure] - before[measure]).abs().nanmedian())
    return changes


def _add_normalization(context: ReportContext, section: Section, shown: Tensor, measured: Tensor) -> None:
    values = context.normalize(measured)
    mean, std, low, high = (float(v) for v in (values.mean(), values.std(correction=0), values.min(), values.max()))
    section.numbers["normalised"] = {"mean": mean, "sd": std, "low": low, "high": high}
    section.paragraphs.append(
        f"A network's input is (grey level / 255 − mean) / standard deviation: from {low:.2f} to {high:.2f} instead of "
        f"0 to 255. Over {pluralize(len(measured), 'image')}, the input has mean {mean:.2f} and standard deviation "
        f"{std:.2f}."
    )
    plot = figures.plot_normalized(shown, context.normalize(shown))
    caption = "Top: grey levels. Bottom: the network's input; 0 is white, positive orange, negative purple."
    section.figures.insert(0, ReportFigure("normalisation", plot, "Images before and after normalisation.", caption))
