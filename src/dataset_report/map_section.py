"""The section of maps: PCA and t-SNE."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from src.dataset_report import embeddings, figures
from src.dataset_report.context import ReportContext, ReportFigure, Section
from src.dataset_report.sample import MAX_SIDE
from src.dataset_report.wording import format_percent, pluralize

COMPONENTS = 12  # shown as images
NEIGHBOURS = 10  # whose labels are compared


def maps_section(context: ReportContext) -> Section:
    """Principal components, and maps of the training images by PCA and by t-SNE."""
    train = context.data.train
    rows = torch.randperm(len(train), generator=torch.Generator().manual_seed(context.seed))[: context.tsne_images]
    if len(rows) < embeddings.MIN_IMAGES:
        return Section("Maps", [f"A map needs {embeddings.MIN_IMAGES} images; there are {len(rows)}."])
    if train.all_alike(rows):
        return Section("Maps", ["No two images differ in shape, so there is nothing to map."])
    text = (
        "Images are compared by shape alone: the mean grey level and the contrast of each are removed first. The maps "
        f"show {pluralize(len(rows), 'training image')} drawn with seed {context.seed}; those without room for a "
        "thumbnail are dots."
    )
    shares = train.pca.variances / train.pca.variances.sum().clamp_min(1e-12)
    components, numbers = _components(context, shares)
    context.on_progress()
    points = train.pca.transform(train.vectors[rows])[:, : embeddings.TSNE_COMPONENTS]
    axes = [f"component {i + 1} ({format_percent(float(shares[i]))} of the variance)" for i in (0, 1)]
    pca, numbers["pca"] = _map(context, "pca", "PCA", rows, points[:, :2].numpy(), axes)
    plane = embeddings.tsne(points, context.seed, context.threads)
    context.on_progress()
    title = f"t-SNE of the first {points.shape[1]} components"
    tsne, numbers["tsne"] = _map(context, "tsne", title, rows, plane, ("t-SNE 1", "t-SNE 2"))
    tsne.caption += " The sizes of groups and the distances between them mean nothing."
    return Section("Maps", [text], [components, pca, tsne], numbers=numbers)


def _components(context: ReportContext, shares: Tensor) -> tuple[ReportFigure, dict]:
    """The first components as images. shares: of the variance, for every component."""
    train = context.data.train
    count = min(COMPONENTS, train.pca.basis.shape[1] // 2 * 2)
    shape = (train.images.shape[1], *(min(side, MAX_SIDE) for side in train.images.shape[2:]))
    images = train.pca.basis[:, :count].T.reshape(count, *shape).mean(1)
    need_90, need_99 = (int((shares.cumsum(0) < level).sum()) + 1 for level in (0.9, 0.99))
    caption = (
        f"The first {count} principal components with their shares of the variance; orange is positive, purple "
        f"negative. {need_90} of {len(shares)} components explain 90 % of the variance, {need_99} explain 99 %."
    )
    numbers = {"variance": [round(float(v), 6) for v in shares[:100]], "need_90": need_90, "need_99": need_99}
    plot = figures.plot_components(images, shares)
    return ReportFigure("components", plot, "Principal components and explained variance.", caption), numbers


def _map(
    context: ReportContext, name: str, title: str, rows: Tensor, points: np.ndarray, axis_names: Sequence[str]
) -> tuple[ReportFigure, dict]:
    train, k = context.data.train, min(NEIGHBOURS, len(rows) - 1)
    labels = train.labels[rows]
    agreement = embeddings.knn_label_agreement(points, labels, k)
    plot, drawn = embeddings.plot_thumbnails(points, train.images[rows], labels, context.class_names, axis_names)
    caption = (
        f"{title}, with {pluralize(drawn, 'thumbnail')}. Of a point's {k} nearest points, {format_percent(agreement)} "
        "have its label on average."
    )
    numbers = {"rows": train.rows[rows].tolist(), "points": points.round(4).tolist(), "agree": agreement}
    return ReportFigure(name, plot, f"Map of images by {title}.", caption), numbers
