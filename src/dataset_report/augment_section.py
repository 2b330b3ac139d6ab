"""The section on normalisation and augmentation."""

import torch
from torch import Tensor

from src.data.augment import Identity
from src.dataset_report import figures, image_grids
from src.dataset_report.context import ReportContext, ReportFigure, Section, Table
from src.dataset_report.wording import pluralize

SHOWN, MEASURED = 10, 512  # images drawn after each augmentation; images measured before and after it


def augment_section(context: ReportContext) -> Section:
    """What normalisation and each augmentation do to the same images."""
    train = context.data.train
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(context.seed))
    first = torch.cat(image_grids.sample_per_class(train.labels, len(context.class_names), 1, context.seed))
    examples = train.images[torch.cat([first, order[~torch.isin(order, first)]])[:SHOWN]]
    measured = train.images[order[:MEASURED]]
    table, numbers = _changes(context, measured)
    section = Section("Normalisation and augmentation", [], [_augmented(context, examples)], [table], numbers)
    if context.normalize is not None:
        text, numbers["normalised"] = _describe_input(context.normalize(measured))
        section.paragraphs.append(text)
        plot = figures.plot_normalized(examples, context.normalize(examples))
        caption = "Top: the images. Bottom: the network's input; 0 is white, positive orange, negative purple."
        alt = "Images before and after normalisation."
        section.figures.insert(0, ReportFigure("normalisation", plot, alt, caption))
    return section


def _augmented(context: ReportContext, images: Tensor) -> ReportFigure:
    cells, row_names = [images.float()], ["original"]
    for name, augmentation in context.augmentations.items():
        generator = torch.Generator().manual_seed(context.seed)
        draws = 1 if isinstance(augmentation, Identity) else 2
        cells += [augmentation(images, generator).float() for _ in range(draws)]
        row_names += [name] + [""] * (draws - 1)
    pictures = image_grids.to_float_rgb(torch.cat(cells).clamp(0, 255))
    caption = (
        f"The first row shows the original images, the others two draws of each augmentation with seed {context.seed}. "
        "If a change makes you doubt the class, it is too strong."
    )
    table = image_grids.picture_table(pictures, len(images), row_names)
    return ReportFigure("augmentations", table, "The same images after each augmentation.", caption)


def _changes(context: ReportContext, images: Tensor) -> tuple[Table, dict]:
    described, rows, numbers = context.measure_set, [], {}
    before = described.function(images)
    for name, augmentation in context.augmentations.items():
        augmented = augmentation(images, torch.Generator().manual_seed(context.seed)).float().clamp(0, 255)
        after = described.function(augmented)
        changes = {"mean_change": (augmented - images.float()).abs().mean()}
        changes |= {measure: (after[measure] - before[measure]).abs().nanmedian() for measure in described.changes}
        rows.append([name, *("–" if change.isnan() else f"{float(change):.1f}" for change in changes.values())])
        numbers[name] = {key: None if change.isnan() else round(float(change), 3) for key, change in changes.items()}
    caption = (
        f"How much each augmentation changes {pluralize(len(images), 'image')}: the mean absolute change of a grey "
        "level, then the median absolute change of each measure."
    )
    columns = [described.columns[measure] for measure in described.changes]
    return Table(["augment=", "levels", *columns], rows, caption), numbers


def _describe_input(values: Tensor) -> tuple[str, dict[str, float]]:
    mean, std, low, high = (float(v) for v in (values.mean(), values.std(correction=0), values.min(), values.max()))
    text = (
        f"A network's input is (grey level / 255 − mean) / standard deviation: from {low:.2f} to {high:.2f} instead of "
        f"0 to 255. Over {pluralize(len(values), 'image')}, it has mean {mean:.2f} and standard deviation {std:.2f}."
    )
    return text, {"mean": mean, "sd": std, "low": low, "high": high}
