"""The chapters that search: duplicates and leaks, outliers."""

import torch
from torch import Tensor

from src.dataset_report import figures, image_grids
from src.dataset_report.collect import Part
from src.dataset_report.context import ReportContext, ReportFigure, Section, many
from src.dataset_report.duplicates import NEAR, TYPICAL, identical, nearest_images, too_near, usual_distance
from src.dataset_report.outliers import KTH, MOST_TIMES, outlier_ratio, own_distances, reasons

PAIRS, SHOWN = 12, 40  # in a picture
KEPT, LISTED = 1000, 20  # in report.json: groups and pairs; outliers per class
LITTLE = 1e-6  # a distance below it is none


def neighbours(look: ReportContext) -> Section:
    """Images that are there twice: within the training images, and in both splits."""
    train, test, names = look.collection.train, look.collection.test, look.names
    groups = identical(torch.cat([train.images, test.images]))
    labels, count = torch.cat([train.labels, test.labels]), len(train)
    copies = {"train": 0, "test": 0, "leak": 0, "contradicting": 0}
    listed = []
    for rows in groups:
        inside, outside = [row for row in rows if row < count], [row for row in rows if row >= count]
        copies["train"] += max(0, len(inside) - 1)
        copies["test"] += max(0, len(outside) - 1)
        copies["leak"] += len(outside) if inside else 0
        copies["contradicting"] += len(set(labels[rows].tolist())) > 1
        listed.append({
            "train": train.rows[inside].tolist(), "test": test.rows[[row - count for row in outside]].tolist(),
            "labels": [names[label] for label in labels[rows].tolist()],
        })  # fmt: skip
    if count < 2:
        return Section("Duplicates and leaks", ["One training image: there is nothing to compare it with."])
    own_rows, own = nearest_images(train.vectors, train.vectors, train.axes, same=True)
    look.tick()
    usual = usual_distance(own, train.labels, len(names))
    within = _pairs(train, train, too_near(own, train.labels, usual), own_rows, own, names)
    numbers = {
        "identical": {"groups": listed[:KEPT], **copies},
        "usual_distance": dict(zip(names, usual.tolist(), strict=True)),
    }
    groups = {"training images to another training image": own.numpy()}
    shown = []
    across = []
    if len(test):
        rows, distances = nearest_images(test.vectors, train.vectors, train.axes)
        look.tick()
        across = _pairs(test, train, too_near(distances, train.labels[rows], usual), rows, distances, names)
        groups["test images to a training image"] = distances.numpy()
        order = (distances / usual[train.labels[rows]].clamp_min(LITTLE)).argsort(stable=True)[:PAIRS]
        shown.append(_pair_picture("test_train", test, train, order, rows, distances, usual, names, "test | train"))
    order = (own / usual[train.labels].clamp_min(LITTLE)).argsort(stable=True)
    order = torch.tensor(_once(order.tolist(), own_rows)[:PAIRS])
    shown.append(_pair_picture("train_train", train, train, order, own_rows, own, usual, names, "train | train"))
    medians = " and ".join(f"{torch.from_numpy(values).median():.3f} for {name}" for name, values in groups.items())
    shown.append(ReportFigure("distances", figures.nearest_distances(groups, NEAR), "Distances to the nearest image.",
                       f"Median distance {medians}. Where the two curves differ, the splits are not from one source; a "
                       "heap at 0 are duplicates."))  # fmt: skip
    numbers["near"] = {"train": within[:KEPT], "test_train": across[:KEPT],
                       "counts": {"train": len(within), "test_train": len(across)}}  # fmt: skip
    text = [
        f"Byte for byte the same: {many(copies['train'], 'surplus copy', 'surplus copies')} within the training "
        f"images, {copies['test']:,} within the test images; test images that are also training images: "
        f"{copies['leak']:,}. Labels differ in {many(copies['contradicting'], 'group')} of identical images.",
        f"Nearly the same, but not identical: {many(len(within), 'pair')} of training images, and "
        f"{many(len(across), 'test image')} with a training image. Distances are √(2 − 2 r), r being the correlation "
        "of two images over pixels, so that brightness and contrast do not count. A near-duplicate is nearer than "
        f"{NEAR} (r above 0.995), or than {TYPICAL:g} of its class' usual distance. Copies that were moved or turned "
        "by more than a fraction of a pixel are not found.",
        "The test images are looked at here only to find leaks; nothing is chosen by them.",
    ]
    brief = {
        "test images that are also training images": f"{copies['leak']:,} identical, {len(across):,} nearly",
        "duplicates among the training images": f"{copies['train']:,} identical, {len(within):,} nearly (pairs)",
        "identical images with different labels": many(copies["contradicting"], "group"),
    }
    return Section("Duplicates and leaks", text, shown, [], numbers, brief)


def _once(order: list[int], partners: Tensor) -> list[int]:
    """Rows whose partner is not there already with them."""
    seen, kept = set(), []
    for row in order:
        pair = frozenset((row, int(partners[row])))
        if pair not in seen:
            seen.add(pair)
            kept.append(row)
    return kept


def _pairs(left: Part, right: Part, near: Tensor, partner: Tensor, distances: Tensor, names) -> list[dict]:
    """Near pairs that are not identical, in the order of `near`."""
    found, same = [], left is right
    for row in _once(near.tolist(), partner) if same else near.tolist():
        other = int(partner[row])
        if not left.images[row].equal(right.images[other]):
            found.append({
                "rows": [int(left.rows[row]), int(right.rows[other])], "distance": round(float(distances[row]), 5),
                "labels": [names[left.labels[row]], names[right.labels[other]]],
            })  # fmt: skip
    return found


def _pair_picture(
    name: str, left: Part, right: Part, order: Tensor, partner: Tensor, distances, usual, names, what
) -> ReportFigure:
    others = partner[order]
    times = [
        _times(*both) for both in zip(distances[order].tolist(), usual[right.labels[others]].tolist(), strict=True)
    ]
    pictures = image_grids.side_by_side(left.images[order], right.images[others])
    above = [
        f"{image_grids.shorten(names[a], 9)} | {image_grids.shorten(names[b], 9)}"
        for a, b in zip(left.labels[order].tolist(), right.labels[others].tolist(), strict=True)
    ]
    pairs = zip(left.rows[order].tolist(), right.rows[others].tolist(), distances[order].tolist(), times, strict=True)
    below = [f"#{a} | #{b}\n{distance:.3f}, {share}" for a, b, distance, share in pairs]
    figure = image_grids.captioned(pictures, above, below, columns=4)
    caption = f"The {many(len(order), 'pair')} ({what}) nearest for the class: labels above; below rows, the "
    caption += "distance, and its share of the class' usual distance."
    return ReportFigure(name, figure, f"Pairs of nearest images, {what}.", caption)


def _times(distance: float, usual: float) -> str:
    """A distance by what is usual in its class, in words."""
    return f"{distance / usual:.3f} of usual" if usual > LITTLE else "0 is usual"


def outliers(look: ReportContext) -> Section:
    """Training images far from their own class."""
    train, names = look.collection.train, look.names
    distances = own_distances(train.vectors, train.labels, len(names))
    odd = outlier_ratio(distances, train.labels, len(names))
    ranked = odd.nan_to_num(-1).argsort(descending=True, stable=True)[: int(odd.isfinite().sum())]
    most = max(1, SHOWN // len(names))
    by_class = [ranked[train.labels[ranked] == label] for label in range(len(names))]
    order = torch.cat([rows[:LISTED] for rows in by_class])
    why = reasons(look.strokes, train.labels, len(names), order)
    alone = int(distances.isnan().sum())
    numbers = {"rows": [
        {"row": int(train.rows[row]), "label": names[train.labels[row]],
         "times": round(float(odd[row]), 3) if odd[row] <= MOST_TIMES else None,
         "distance": round(float(distances[row]), 4), "why": reason}
        for row, reason in zip(order.tolist(), why, strict=True)
    ]}  # fmt: skip
    text = f"How far each training image is from the {KTH}th nearest of its own class (√(2 − 2 r)), over what is "
    text += "usual in its class."
    text += f" Alone in its class, and left out: {many(alone, 'image')}." if alone else ""
    if not len(order):
        return Section("Outliers", [text], numbers=numbers)
    reason_of = dict(zip(order.tolist(), why, strict=True))
    top = torch.cat([rows[:most] for rows in by_class])[: 2 * SHOWN]
    times = [f"{times:.2f}x" if times <= MOST_TIMES else "(0 usual)" for times in odd[top].tolist()]
    above = [
        f"{image_grids.shorten(names[train.labels[row]], 9)}  {x}" for row, x in zip(top.tolist(), times, strict=True)
    ]
    below = [f"#{train.rows[row]}\n" + reason_of[row].replace(", ", ",\n") for row in top.tolist()]
    figure = image_grids.captioned(image_grids.to_rgb(train.images[top]), above, below, colours=("black", "#555555"))
    caption = (
        f"The {most} strangest of each class: label and how many times the usual distance above; below the row and "
    )
    caption += "the ink measure that is 2.5 or more robust deviations from its class, if any."
    shown = ReportFigure("outliers", figure, "The images farthest from their class.", caption)
    return Section("Outliers", [text], [shown], numbers=numbers)
