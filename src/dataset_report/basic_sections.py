"""The sections that describe: counts, examples, averages, levels, measures."""

import torch

from src.dataset_report import figures, image_grids, statistics
from src.dataset_report.context import ReportContext, ReportFigure, Section, Table
from src.dataset_report.measures import INK
from src.dataset_report.wording import format_percent, join_names, pluralize
from src.plotting import class_labels

EXAMPLES = 12  # per class
AS_INPUT = "as a network receives them, after data.size, data.channels, data.ink and similar settings"


def counts_section(context: ReportContext) -> Section:
    """Images per class and split."""
    counts, names = context.data.counts, context.class_names
    totals = {split: sum(values) for split, values in counts.items()}
    by_class = [a + b for a, b in zip(counts["train"], counts["val"], strict=True)]
    most, least = max(by_class), min(by_class)
    balance = f"each class has {pluralize(most, 'image')}"
    if most > least:
        largest, smallest = names[by_class.index(most)], names[by_class.index(least)]
        ratio = f", a ratio of {most / least:.2f}" if least else ""
        balance = f"the largest class, {largest}, has {most:,} images and the smallest, {smallest}, {least:,}{ratio}"
    channels, height, width = context.data.train.images.shape[1:]
    text = (
        f"{pluralize(len(names), 'class', 'classes')} with {totals['train']:,} training, {totals['val']:,} validation "
        f"and {totals['test']:,} test images of {width}x{height} pixels and {pluralize(channels, 'channel')}. Test "
        f"images aside, {balance}."
    )
    missing = [name for name, count in zip(names, counts["test"], strict=True) if not count]
    if missing:
        text += f" The test split has no images of {join_names(missing)}."
    figure = ReportFigure(
        "counts",
        figures.plot_class_counts(counts, names),
        f"Bars: images per class, {least:,} to {most:,}.",
        "Bars of equal height mean a balanced data set. A class with a low bar hardly affects the accuracy.",
    )
    rows = [
        [name, *(f"{counts[split][label]:,}" for split in counts), format_percent(by_class[label], sum(by_class))]
        for label, name in enumerate(names)
    ]
    rows.append(["all", *(f"{total:,}" for total in totals.values()), "100 %"])
    summary = {"images": ", ".join(f"{total:,} {split}" for split, total in totals.items()), "classes": str(len(names))}
    table = Table(["class", *counts, "share"], rows, "Share of the training and validation images.")
    return Section("Counts", [text], [figure], [table], {"per_class": counts, "totals": totals}, summary)


def examples_section(context: ReportContext) -> Section:
    """Images drawn from each class."""
    train, names = context.data.train, context.class_names
    drawn = image_grids.sample_per_class(train.labels, len(names), EXAMPLES, context.seed)
    shown = image_grids.spread_classes(train.labels.bincount(minlength=len(names)).tolist())
    blank = torch.full((EXAMPLES, *train.images.shape[1:]), 255, dtype=torch.uint8)
    cells = torch.cat([torch.cat([train.images[drawn[k]], blank[len(drawn[k]) :]]) for k in shown])
    filled = torch.cat([torch.arange(EXAMPLES) < len(drawn[k]) for k in shown]).tolist()
    labels = class_labels(names, figures.NAME_COLUMNS)
    row_names = [labels[label] for label in shown]
    table = image_grids.picture_table(image_grids.to_float_rgb(cells), EXAMPLES, row_names, filled)
    caption = f"Up to {EXAMPLES} training images per class, drawn with seed {context.seed}, {AS_INPUT}."
    caption += _selection(len(shown), len(names))
    figure = ReportFigure("examples", table, "A row of example images per class.", caption)
    numbers: dict = {"rows": {name: train.rows[rows].tolist() for name, rows in zip(names, drawn, strict=True)}}
    if train.files is not None:
        numbers["files"] = {
            name: [train.files[row] for row in rows.tolist()] for name, rows in zip(names, drawn, strict=True)
        }
    return Section("Examples", [], [figure], numbers=numbers)


def _selection(shown: int, classes: int) -> str:
    """A sentence for a figure that shows some of the classes; none where it shows all."""
    return f" {shown} of {classes:,} classes are shown, from the smallest to the largest." * (shown < classes)


def averages_section(context: ReportContext) -> Section:
    """Mean and standard deviation image per class."""
    train, names = context.data.train, context.class_names
    mean, std = statistics.class_mean_std(train.images, train.labels, len(names))
    empty = train.labels.bincount(minlength=len(names)) == 0
    flat = mean.flatten(1)
    distances = (torch.cdist(flat, flat) / flat.shape[1] ** 0.5).fill_diagonal_(torch.inf)  # root mean square
    distances[empty], distances[:, empty] = torch.inf, torch.inf
    a, b = divmod(int(distances.argmin()), len(names))
    rms_std = std.flatten(1).square().mean(1).sqrt()
    most, least = int(rms_std.argmax()), int(rms_std.masked_fill(empty, torch.inf).argmin())
    text = (
        "Where a mean image is sharp, the images of its class lie on top of one another; where the standard deviation "
        "is bright, they differ."
    )
    caption = (
        f"Top: the mean image of each class. Bottom: the standard deviation of each pixel. The images of {names[most]} "
        f"vary most ({float(rms_std[most]):.0f} grey levels, root mean square), those of {names[least]} least "
        f"({float(rms_std[least]):.0f}). The two means most alike are those of {names[a]} and {names[b]}, which "
        f"differ by {float(distances[a, b]):.0f} grey levels."
    )
    shown = image_grids.spread_classes(train.labels.bincount(minlength=len(names)).tolist())
    shown = shown if len(shown) == len(names) else sorted({*shown, most, least, a, b})
    plot = figures.plot_class_means(mean, std, names, shown)
    caption += _selection(len(shown), len(names))
    figure = ReportFigure("averages", plot, "Mean and standard deviation image of each class.", caption)
    numbers = {"rms_sd": dict(zip(names, rms_std.tolist(), strict=True)), "nearest_means": [names[a], names[b]]}
    return Section("Mean and standard deviation", [text], [figure], numbers=numbers)


def pixels_section(context: ReportContext) -> Section:
    """Histogram of the levels, a line per colour."""
    counts = statistics.level_histogram(context.data.train.images)
    shares = counts.double().sum(0) / counts.sum()
    level, pixels = ("grey level", "pixels") if len(counts) == 1 else ("level", "values of red, green and blue")
    mean, std = (", ".join(f"{value:.4f}" for value in values) for values in (context.data.mean, context.data.std))
    text = (
        f"{format_percent(float(shares[0]))} of all {pixels} are 0 and {format_percent(float(shares[255]))} are 255; "
        f"{int((shares > 0).sum())} of 256 levels occur. Scaled to 0..1, the {level}s of the training split "
        f"have mean {mean} and standard deviation {std}."
    )
    caption = f"Gaps are {level}s that a scanner or a conversion left out."
    if context.measure_set is INK:
        caption = f"Two peaks at the ends are ink and background. {caption}"
    plot = figures.plot_level_histogram(counts)
    figure = ReportFigure("pixels", plot, f"Histogram of {level}s on a logarithmic axis.", caption)
    numbers = {"counts": counts.tolist(), "mean": list(context.data.mean), "std": list(context.data.std)}
    return Section(f"{level.capitalize()}s", [text], [figure], numbers=numbers)


def measures_section(context: ReportContext) -> Section:
    """Ink, its position, stroke width and slant; of photographs brightness, contrast, colourfulness and sharpness."""
    train, names, described = context.data.train, context.class_names, context.measure_set
    table = {
        measure: [statistics.summary_statistics(values[train.labels == label]) for label in range(len(names))]
        for measure, values in context.measures.items()
    }
    rows = []
    for label, name in enumerate(names):
        cells = [table[measure][label] for measure in described.columns]
        rows.append([name, *("–" if c["n"] == 0 else f"{c['median']:z.1f} ± {c['sd']:.1f}" for c in cells)])
    ranges = []
    for measure, title in described.ranges.items():
        medians = [(values["median"], name) for values, name in zip(table[measure], names, strict=True) if values["n"]]
        if medians:
            (low, lowest), (high, highest) = min(medians), max(medians)
            ranges.append(f"{title} {low:z.1f} ({lowest}) to {high:z.1f} ({highest})")
    empty_in, nothing = described.blank
    blank = int(context.measures[empty_in].isnan().sum())
    text = f"{described.about} Images are measured {AS_INPUT}."
    text += f" With {nothing}: {pluralize(blank, 'image')}." if blank else ""
    caption = "For each class a line from the 5 to the 95 % percentile, thick from 25 to 75 %, and a dot at the median."
    caption += f" Lowest and highest median: {'; '.join(ranges)}." if ranges else ""
    plot = figures.plot_distributions(table, described.charts, names)
    figure = ReportFigure("measures", plot, f"{described.title}: distributions of its measures per class.", caption)
    numbers = {name: dict(zip(names, by_class, strict=True)) for name, by_class in table.items()}
    medians_table = Table(["class", *described.columns.values()], rows, "Median ± standard deviation.")
    return Section(described.title, [text], [figure], [medians_table], {**numbers, "blank": blank})
