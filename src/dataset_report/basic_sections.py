"""The chapters that describe: counts, examples, averages, grey levels, ink, maps, augmentation."""

import torch

from src.data.augment import Identity
from src.dataset_report import embeddings, figures, image_grids, statistics
from src.dataset_report.context import ReportContext, ReportFigure, Section, Table, join_words, many, per_cent
from src.dataset_report.embedding_figures import thumbnails
from src.dataset_report.ink_measures import MEASURES, strokes

EXAMPLES = 12
AS_READ = "as a network gets them: after what data.size, data.channels, data.ink and the like change of the files"


def counts(look: ReportContext) -> Section:
    """Images per class and split."""
    numbers, names = look.collection.counts, look.names
    totals = {split: sum(values) for split, values in numbers.items()}
    learnt = [a + b for a, b in zip(numbers["train"], numbers["val"], strict=True)]
    most, least = max(learnt), min(learnt)
    largest, smallest = names[learnt.index(most)], names[learnt.index(least)]
    ratio = f"{most / least:.2f} times as many as" if least else "against"
    rows = [
        [name, *(f"{numbers[split][k]:,}" for split in numbers), per_cent(learnt[k], sum(learnt))]
        for k, name in enumerate(names)
    ]
    rows.append(["all", *(f"{total:,}" for total in totals.values()), "100 %"])
    sizes = "x".join(map(str, look.collection.train.images.shape[:0:-1]))
    text = f"{len(names)} classes, {totals['train']:,} images to train, {totals['val']:,} to validate, "
    text += f"{totals['test']:,} to test; width x height x channels: {sizes}. The largest class, {largest}, has "
    text += f"{most:,} images to learn from, {ratio} the smallest, {smallest} ({least:,})."
    missing = [name for k, name in enumerate(names) if not numbers["test"][k]]
    if missing:
        text += f" The test split has no image of {join_words(missing)}."
    shown = ReportFigure(
        "counts", figures.counts(numbers, names), f"Bars: images per class, {least:,} to {most:,}.",
        "Bars of equal height are a balanced data set; a low one is a class that accuracy hardly notices.",
    )  # fmt: skip
    table = Table(["class", *numbers, "share"], rows)
    brief = {"images": ", ".join(f"{total:,} {split}" for split, total in totals.items()), "classes": str(len(names))}
    return Section("Counts", [text], [shown], [table], {"per_class": numbers, "totals": totals}, brief)


def examples(look: ReportContext) -> Section:
    """Images drawn from each class."""
    train, names = look.collection.train, look.names
    drawn = image_grids.first_of_each(train.labels, len(names), EXAMPLES, look.seed)
    blank = torch.full((EXAMPLES, *train.images.shape[1:]), 255, dtype=torch.uint8)
    cells = torch.cat([torch.cat([train.images[rows], blank[len(rows) :]]) for rows in drawn])
    there = torch.cat([torch.arange(EXAMPLES) < len(rows) for rows in drawn])
    figure = image_grids.sheet(
        image_grids.to_rgb(cells), EXAMPLES, [image_grids.shorten(name) for name in names], framed=there.tolist()
    )
    caption = f"Up to {EXAMPLES} training images per class, drawn by seed {look.seed}, {AS_READ}."
    chosen = {name: train.rows[rows].tolist() for name, rows in zip(names, drawn, strict=True)}
    shown = ReportFigure("examples", figure, "A row of example images per class.", caption)
    return Section("Examples", [], [shown], numbers={"rows": chosen})


def averages(look: ReportContext) -> Section:
    """Mean and spread image per class."""
    train, names = look.collection.train, look.names
    mean, spread = statistics.averages(train.images, train.labels, len(names))
    filled = train.labels.bincount(minlength=len(names)) > 0
    between = statistics.apart(mean)
    between[~filled], between[:, ~filled] = torch.inf, torch.inf
    between.fill_diagonal_(torch.inf)
    place = int(between.argmin())
    a, b = divmod(place, len(names))
    blur = spread.flatten(1).square().mean(1).sqrt()
    most, least = int(blur.argmax()), int(blur.masked_fill(~filled, torch.inf).argmin())
    caption = f"Above the mean of each class, below the standard deviation. {names[most]} varies most "
    caption += (
        f"({float(blur[most]):.0f} grey levels, root mean square), {names[least]} least ({float(blur[least]):.0f}). "
    )
    caption += (
        f"The two means that are most alike: {names[a]} and {names[b]}, {float(between[a, b]):.0f} grey levels apart."
    )
    shown = ReportFigure("averages", figures.average_images(mean, spread, names), "Mean and spread images.", caption)
    text = "A sharp mean is a class whose images lie on top of one another; bright places of the spread are where "
    text += "they differ."
    numbers = {"rms_sd": dict(zip(names, blur.tolist(), strict=True)), "nearest_means": [names[a], names[b]]}
    return Section("Mean and spread", [text], [shown], numbers=numbers)


def pixels(look: ReportContext) -> Section:
    """Histogram of grey levels."""
    train = look.collection.train
    found = statistics.levels(train.images)
    share = found.double().sum(0) / found.sum()
    used = int((found.sum(0) > 0).sum())
    text = f"{per_cent(float(share[0]))} of all pixels are 0 and {per_cent(float(share[255]))} are 255; {used} of "
    text += f"256 grey levels occur. Mean {_numbers(look.collection.mean)}, standard deviation "
    text += f"{_numbers(look.collection.std)} of grey levels scaled to 0..1 (of the images that are trained on)."
    caption = "Two towers at the ends are ink and ground; gaps between are grey levels that a scanner or a "
    caption += "conversion left out."
    shown = ReportFigure("pixels", figures.grey_levels(found), "Histogram of grey levels, logarithmic.", caption)
    numbers = {"counts": found.tolist(), "mean": list(look.collection.mean), "std": list(look.collection.std)}
    return Section("Grey levels", [text], [shown], numbers=numbers)


def _numbers(values) -> str:
    return ", ".join(f"{value:.4f}" for value in values)


def ink(look: ReportContext) -> Section:
    """How much ink, where, how thick and how slanted."""
    train, names = look.collection.train, look.names
    table = {
        measure: [statistics.spread_of(values[train.labels == label]) for label in range(len(names))]
        for measure, values in look.strokes.items()
    }
    rows = []
    for label, name in enumerate(names):
        cells = [table[measure][label] for measure in MEASURES]
        rows.append([name, *("–" if c["n"] == 0 else f"{c['median']:z.1f} ± {c['sd']:.1f}" for c in cells)])
    captions = []
    for measure, what in (("mass", "ink"), ("slant", "slant"), ("stroke", "stroke width")):
        known = [(spread["median"], name) for spread, name in zip(table[measure], names, strict=True) if spread["n"]]
        if known:
            low, high = min(known), max(known)
            captions.append(f"{what}: {low[0]:.1f} ({low[1]}) to {high[0]:.1f} ({high[1]})")
    blank = int(look.strokes["stroke"].isnan().sum())
    text = "Ink is the difference from the ground, which is the median of an image's border. For pictures that are "
    text += f"no strokes on an even ground the widths and slants say little. Images are measured {AS_READ}."
    text += f" Without any ink: {many(blank, 'image')}." if blank else ""
    caption = "Line from 5 to 95 %, thick from 25 to 75 %, dot at the median. Medians per class, lowest to highest: "
    shown = ReportFigure(
        "ink", figures.distributions(table, MEASURES, names),
        "Distributions of ink measures per class.", caption + "; ".join(captions) + ".",
    )  # fmt: skip
    head = ["class", "ink, px", "width, px", "height, px", "slant, °", "stroke, px", "right, px", "below, px"]
    numbers = {name: dict(zip(names, spreads, strict=True)) for name, spreads in table.items()}
    return Section(
        "Ink", [text], [shown], [Table(head, rows, "Median ± standard deviation.")], {**numbers, "blank": blank}
    )


def maps_of(look: ReportContext) -> Section:
    """PCA and t-SNE."""
    train, names = look.collection.train, look.names
    axes = train.axes
    shares = axes.variances / axes.variances.sum().clamp_min(1e-12)
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(look.seed))[: look.tsne_images]
    if len(order) < embeddings.LEAST:
        return Section("Maps", [f"{len(order)} images are too few for a map: {embeddings.LEAST} are needed."])
    if train.alike(order):
        return Section("Maps", ["No two images differ in shape: there is nothing to draw a map of."])
    points, labels, images = axes.read(train.vectors[order]), train.labels[order], train.images[order]
    points = points[:, : embeddings.BEFORE]
    need = [int((shares.cumsum(0) < level).sum()) + 1 for level in (0.9, 0.99)]
    shape = (train.images.shape[1], *(min(side, 32) for side in train.images.shape[2:]))
    kept = min(12, axes.axes.shape[1] // 2 * 2)
    pictures = axes.axes[:, :kept].T.reshape(kept, *shape).mean(1)
    text = "Every image as a direction: its mean grey level and its contrast taken out, so that what is compared "
    text += f"is shape. {many(len(order), 'training image')} drawn by seed {look.seed}; those for whose thumbnail "
    text += "there was no room are dots."
    shown = [
        ReportFigure(
            "components", figures.components(pictures, shares), "Principal components and variance kept.",
            f"The first {kept} principal components with their share of the variance, purple against orange. "
            f"{need[0]} components keep 90 %, {need[1]} keep 99 % of {len(shares)}.",
        )
    ]  # fmt: skip
    look.tick()
    numbers = {"variance": [round(float(v), 6) for v in shares[:100]], "need_90": need[0], "need_99": need[1]}
    planes = {"pca": points[:, :2].numpy(), "tsne": embeddings.tsne(points, look.seed, look.threads)}
    look.tick()
    k = min(10, len(order) - 1)
    for name, plane in planes.items():
        agree = embeddings.neighbours_agree(plane, labels, k)
        axis = [f"component {i + 1} ({per_cent(float(shares[i]))} of the variance)" for i in (0, 1)]
        figure, room = thumbnails(plane, images, labels, names, axis if name == "pca" else ("t-SNE 1", "t-SNE 2"))
        title = "PCA" if name == "pca" else f"t-SNE of the first {points.shape[1]} components"
        caption = f"{title}: {many(room, 'thumbnail')}. Of the {k} nearest points {per_cent(agree)} have the same label"
        caption += "." if name == "pca" else "; distances between groups and their sizes mean nothing."
        shown.append(ReportFigure(name, figure, f"Map of images by {title}.", caption))
        numbers[name] = {"rows": train.rows[order].tolist(), "points": plane.round(4).tolist(), "agree": agree}
    return Section("Maps", [text], shown, numbers=numbers)


def augment(look: ReportContext) -> Section:
    """What normalisation and each augmentation do to the same images."""
    train, names = look.collection.train, look.names
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(look.seed))
    one = torch.cat([rows[:1] for rows in image_grids.first_of_each(train.labels, len(names), 1, look.seed)])
    chosen = torch.cat([one, order[~torch.isin(order, one)]])[:10]
    images, some = train.images[chosen], train.images[order[:512]]
    before, cells, row_names, rows, numbers = strokes(some), [images.float()], ["as it is"], [], {}
    for name, change in look.augments.items():
        generator = torch.Generator().manual_seed(look.seed)
        draws = 1 if isinstance(change, Identity) else 2
        cells += [change(images, generator).float() for _ in range(draws)]
        row_names += [name] + [""] * (draws - 1)
        changed = change(some, generator.manual_seed(look.seed)).float().clamp(0, 255)
        after = strokes(changed)
        differ = float((changed - some.float()).abs().mean())
        numbers[name] = {"mean_change": round(differ, 3)}
        row = [name, f"{differ:.1f}"]
        for measure in ("mass", "slant", "stroke", "right"):
            moved = (after[measure] - before[measure]).abs().nanmedian()
            numbers[name][measure] = None if moved.isnan() else round(float(moved), 3)
            row.append("–" if moved.isnan() else f"{float(moved):.1f}")
        rows.append(row)
    figure = image_grids.sheet(image_grids.to_rgb(torch.cat(cells).clamp(0, 255)), len(images), row_names)
    head = ["augment=", "grey levels", "ink, px", "slant, °", "stroke, px", "sideways, px"]
    what = f"How much they change {many(len(some), 'image')}: mean change of a grey level, then medians of absolute "
    what += "changes."
    shown = [ReportFigure("augmentations", figure, "The same images after each augmentation.",
                   "The first row is untouched; below, two draws of each augmentation on the same images, from the "
                   f"same seed {look.seed}. A change that makes a reader doubt the class is too strong.")]  # fmt: skip
    text = []
    if look.normalize is not None:
        read = look.normalize(images)
        whole = look.normalize(some)
        numbers["normalised"] = {"mean": float(whole.mean()), "sd": float(whole.std(correction=0)),
                                 "low": float(whole.min()), "high": float(whole.max())}  # fmt: skip
        n = numbers["normalised"]
        span = f"from {n['low']:.2f} to {n['high']:.2f} instead of 0 to 255"
        text = [
            f"A network reads (grey/255 − mean) / std: values {span}; over {many(len(some), 'image')} their mean is "
            f"{n['mean']:.2f} and their standard deviation {n['sd']:.2f}."
        ]
        figure = figures.normalised(images, read)
        caption = "Above the grey levels, below what the network reads: white is 0, orange above, purple below."
        shown.insert(0, ReportFigure("normalisation", figure, "Images before and after normalisation.", caption))
    return Section("Normalisation and augmentation", text, shown, [Table(head, rows, what)], numbers)
