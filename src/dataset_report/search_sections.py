"""The sections that search the images: duplicates and leaks, duplicates."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from src.dataset_report import duplicates, figures
from src.dataset_report.context import ReportContext, ReportFigure, Section
from src.dataset_report.image_grids import captioned_pictures, pair_pictures, to_float_rgb
from src.dataset_report.sample import DatasetSample, SplitSample
from src.dataset_report.wording import pluralize
from src.plotting import class_labels

PAIRS, SHOWN = 12, 40  # in a figure
MAX_PAIRS, MAX_OUTLIERS = 1000, 20  # in report.json: groups and pairs; outliers per class
ZERO_DISTANCE = 1e-6
TITLE = "Duplicates and leaks"


@dataclass
class _NearestPairs:
    left: SplitSample
    right: SplitSample
    nearest: Tensor  # (n,)
    distances: Tensor  # (n,)
    labels: Tensor  # (n,), the class whose usual distance counts
    usual: Tensor  # (K,)

    def once(self, rows: list[int]) -> list[int]:
        """Rows without the second mention of a pair, which occurs only within one split."""
        if self.left is not self.right:
            return rows
        pairs: dict[frozenset[int], int] = {}
        for row in rows:
            pairs.setdefault(frozenset((row, int(self.nearest[row]))), row)
        return list(pairs.values())

    def near_duplicates(self, names: Sequence[str]) -> list[dict]:
        """Near-duplicates that are not identical, nearest for their class first."""
        pairs = []
        for row in self.once(duplicates.near_duplicates(self.distances, self.labels, self.usual).tolist()):
            other = int(self.nearest[row])
            if not self.left.images[row].equal(self.right.images[other]):
                rows = [int(self.left.rows[row]), int(self.right.rows[other])]
                labels = [names[self.left.labels[row]], names[self.right.labels[other]]]
                pair = {"rows": rows, "distance": round(float(self.distances[row]), 5), "labels": labels}
                if self.left.files is not None and self.right.files is not None:
                    pair["files"] = [self.left.files[row], self.right.files[other]]
                pairs.append(pair)
        return pairs

    def figure(self, name: str, title: str, names: Sequence[str]) -> ReportFigure:
        """The pairs that are nearest for their class."""
        order = (self.distances / self.usual[self.labels].clamp_min(ZERO_DISTANCE)).argsort(stable=True)
        left = self.once(order.tolist())[:PAIRS]
        right = self.nearest[left].tolist()
        above, below, short_names = [], [], class_labels(names, 9)
        for a, b in zip(left, right, strict=True):
            label, other = (short_names[k] for k in (self.left.labels[a], self.right.labels[b]))
            above.append(f"{label} | {other}")
            distance, usual = float(self.distances[a]), float(self.usual[self.right.labels[b]])
            ratio = f"{distance / usual:.3f} of usual" if usual > ZERO_DISTANCE else "0 is usual"
            pair = self.left.image_name(a, 15), self.right.image_name(b, 15)
            below.append(f"{' | '.join(pair)}\n{distance:.3f}, {ratio}")
        pictures = pair_pictures(self.left.images[left], self.right.images[right])
        caption = (
            f"The {pluralize(len(left), 'pair')} ({title}) nearest for the class. Above: labels. Below: rows or files, "
            "the distance, and the distance relative to what is usual in the class."
        )
        plot = captioned_pictures(pictures, above, below, columns=4)
        return ReportFigure(name, plot, f"Pairs of nearest images, {title}.", caption)


def neighbours_section(context: ReportContext) -> Section:
    """Duplicates within the training images, and test images that are also training images."""
    train, test, names = context.data.train, context.data.test, context.class_names
    if len(train) < 2:
        return Section(TITLE, ["There is only one training image, so there is nothing to compare it with."])
    identical = _identical(context.data)
    nearest, distances = duplicates.nearest_images(train.vectors, train.vectors, train.pca, same=True)
    context.on_progress()
    usual = duplicates.class_medians(distances, train.labels, len(names))
    pairs = {"train": _NearestPairs(train, train, nearest, distances, train.labels, usual)}
    groups = {"training images to another training image": distances.numpy()}
    plots = [pairs["train"].figure("train_train", "train | train", names)]
    if len(test):
        nearest, distances = duplicates.nearest_images(test.vectors, train.vectors, train.pca)
        context.on_progress()
        pairs["test_train"] = _NearestPairs(test, train, nearest, distances, train.labels[nearest], usual)
        groups["test images to a training image"] = distances.numpy()
        plots.insert(0, pairs["test_train"].figure("test_train", "test | train", names))
    medians = " and ".join(f"{torch.from_numpy(values).median():.3f} for {name}" for name, values in groups.items())
    caption = (
        f"The median distance is {medians}. If the two curves differ, the splits come from different sources; a peak "
        "at 0 means duplicates."
    )
    plot = figures.plot_nearest_distances(groups, duplicates.NEAR_DISTANCE)
    plots.append(ReportFigure("distances", plot, "Distances to the nearest image.", caption))
    near = {"train": [], "test_train": []} | {key: value.near_duplicates(names) for key, value in pairs.items()}
    counts = {key: len(value) for key, value in near.items()}
    numbers = {
        "identical": identical,
        "usual_distance": dict(zip(names, usual.tolist(), strict=True)),
        "near": {**{key: value[:MAX_PAIRS] for key, value in near.items()}, "counts": counts},
    }
    leak, copies = identical["leak"], identical["train"]
    summary = {
        "test images that are also training images": f"{leak:,} identical, {counts['test_train']:,} nearly",
        "duplicates among the training images": f"{copies:,} identical, {counts['train']:,} nearly (pairs)",
        "identical images with different labels": pluralize(identical["contradicting"], "group"),
    }
    return Section(TITLE, _paragraphs(identical, counts), plots, [], numbers, summary)


def _identical(data: DatasetSample) -> dict:
    train, test, size = data.train, data.test, len(data.train)
    labels = torch.cat([train.labels, test.labels])
    copies, groups = {"train": 0, "test": 0, "leak": 0, "contradicting": 0}, []
    for rows in duplicates.identical_groups(torch.cat([train.images, test.images])):
        in_train, in_test = [row for row in rows if row < size], [row - size for row in rows if row >= size]
        copies["train"] += max(0, len(in_train) - 1)
        copies["test"] += max(0, len(in_test) - 1)
        copies["leak"] += len(in_test) if in_train else 0
        copies["contradicting"] += len(set(labels[rows].tolist())) > 1
        names = [data.class_names[label] for label in labels[rows].tolist()]
        group = {"train": train.rows[in_train].tolist(), "test": test.rows[in_test].tolist(), "labels": names}
        files = [*train.files_of(in_train).get("files", ()), *test.files_of(in_test).get("files", ())]
        groups.append({**group, "files": files} if files else group)
    return {"groups": groups[:MAX_PAIRS], **copies}


def _paragraphs(identical: dict, near: dict[str, int]) -> list[str]:
    return [
        f"Identical byte for byte: {pluralize(identical['train'], 'surplus copy', 'surplus copies')} among the "
        f"training images and {identical['test']:,} among the test images; test images that are also training images: "
        f"{identical['leak']:,}. Identical images with different labels: "
        f"{pluralize(identical['contradicting'], 'group')}.",
        f"Nearly identical: {pluralize(near['train'], 'pair')} of training images, and "
        f"{pluralize(near['test_train'], 'pair')} of a test and a training image. The distance between two images is "
        "√(2 − 2 r), where r is the correlation of their pixels, so brightness and contrast do not count. Two images "
        f"are near-duplicates if their distance is at most {duplicates.NEAR_DISTANCE} (r of 0.995 or more), or at most "
        f"{duplicates.NEAR_RATIO:g} of what is usual in the class: the median distance to the nearest image. A copy "
        "that is shifted or rotated by more than a fraction of a pixel is not found.",
        "The test images are compared only to find leaks; nothing is chosen by them.",
    ]


def outliers_section(context: ReportContext) -> Section:
    """Training images far from the rest of their class."""
    train, names = context.data.train, context.class_names
    distances = duplicates.knn_distances(train.vectors, train.labels, len(names))
    ratios = duplicates.outlier_ratio(distances, train.labels, len(names))
    ranked = ratios.nan_to_num(-1).argsort(descending=True, stable=True)[: int(ratios.isfinite().sum())]
    by_class = [ranked[train.labels[ranked] == label] for label in range(len(names))]
    rows = torch.cat([members[:MAX_OUTLIERS] for members in by_class])
    reasons = duplicates.explain_outliers(context.measures, train.labels, len(names), rows, context.measure_set.blank)
    reason_of, numbers = dict(zip(rows.tolist(), reasons, strict=True)), {"rows": []}
    for row, reason in reason_of.items():
        ratio = round(float(ratios[row]), 3) if ratios[row] <= duplicates.MAX_RATIO else None
        entry = {"row": int(train.rows[row]), "label": names[train.labels[row]], "times": ratio}
        entry |= {} if train.files is None else {"file": train.files[row]}
        numbers["rows"].append({**entry, "distance": round(float(distances[row]), 4), "why": reason})
    alone = int(distances.isnan().sum())
    text = (
        f"The distance, √(2 − 2 r), from each training image to the {duplicates.K}th nearest image of its class, "
        "relative to the median of the class."
    )
    text += f" Left out because alone in its class: {pluralize(alone, 'image')}." if alone else ""
    if not len(rows):
        return Section("Outliers", [text], numbers=numbers)
    per_class = SHOWN // len(names)
    top = torch.cat([members[:per_class] for members in by_class]) if per_class else ranked[:SHOWN]
    above, below, short_names = [], [], class_labels(names, 9)
    for row, ratio in zip(top.tolist(), ratios[top].tolist(), strict=True):
        times = f"{ratio:.2f}x" if ratio <= duplicates.MAX_RATIO else "(0 usual)"
        above.append(f"{short_names[train.labels[row]]}  {times}")
        below.append(f"{train.image_name(row)}\n" + reason_of[row].replace(", ", ",\n"))
    caption = (
        f"The {pluralize(per_class or len(top), 'image')} of {'each' if per_class else 'any'} class farthest from the "
        "others. Above: label, and distance relative to the median. Below: row or file, and the measure that is "
        "2.5 or more robust standard deviations from the median of the class, if any."
    )
    plot = captioned_pictures(to_float_rgb(train.images[top]), above, below, colors=("black", "#555555"))
    figure = ReportFigure("outliers", plot, "The images farthest from their class.", caption)
    return Section("Outliers", [text], [figure], numbers=numbers)
