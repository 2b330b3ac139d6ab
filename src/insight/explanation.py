"""An explanation: what was found out about a batch of images, as captions, records and a table."""

from dataclasses import dataclass, field

from torch import Tensor

from src.data.info import DataInfo
from src.errors import printable
from src.insight.attribution_figures import Caption
from src.insight.receptive_field import MapGeometry
from src.plotting import class_labels, label, shorten_path, text_table

NAME_CELL = 20  # characters of a class name in the table


@dataclass
class Neighbors:
    """The K training images nearest to each of N images."""

    distances: Tensor  # Euclidean, between what the head reads (N, K)
    positions: Tensor  # in the training split (N, K)
    rows: Tensor  # of the training file (N, K)
    files: list[list[str]] | None  # of pictures of files (N, K)
    labels: Tensor  # (N, K)
    features: Tensor  # of the N images (N, D)
    searched: int  # training images that were compared


@dataclass
class Explanation:
    """The explained images, N of them, and what was found out about them, a kind per field."""

    images: Tensor
    names: list[str]
    outputs: Tensor
    targets: Tensor  # the explained columns of outputs
    temperature: float | None = None  # that calibrates the probabilities
    rows: list[int] | None = None  # of the images in the data set's file; None if they are not of it
    labels: Tensor | None = None
    train_positions: Tensor | None = None  # of the images in the training split; None if they are not of it
    origin: dict = field(default_factory=dict)  # where the images are from
    methods: dict[str, dict] = field(default_factory=dict)  # the options of each method
    attributions: dict[str, Tensor] = field(default_factory=dict)  # by method
    completeness_error: Tensor | None = None  # of integrated gradients
    cam_layer: str | None = None
    cam_geometry: MapGeometry | None = None
    feature_maps: dict[str, Tensor] = field(default_factory=dict)  # by layer
    filters: dict[str, Tensor] = field(default_factory=dict)  # by layer
    class_images: tuple[Tensor, Tensor, Tensor] | None = None  # images, columns they maximize, signs: -1 to minimize
    neighbors: Neighbors | None = None


def make_captions(explanation: Explanation, info: DataInfo) -> list[Caption]:
    """The caption of each image."""
    outputs, output, names = explanation.outputs, info.output, class_labels(info.class_names)
    probs = output.predictions(outputs, explanation.temperature)
    captions = []
    for index, name in enumerate(explanation.names):
        top, column = int(outputs[index].argmax()), int(explanation.targets[index])
        truth = None if explanation.labels is None else explanation.labels[index]
        if output.is_number:
            caption = Caption(label(shorten_path(name, 28)), output.format(float(outputs[index, 0]), 0))
            caption.truth = "" if truth is None else f"true: {output.format(float(truth), 0)}"
        else:
            caption = Caption(label(shorten_path(name, 28)), f"{names[top]}  {100 * probs[index, top]:.1f} %")
            if truth is not None:
                caption.truth = f"true: {names[truth]}  {100 * probs[index, truth]:.1f} %"
                caption.correct = top == int(truth)
            caption.note = f"maps: {names[column]}" if column != top else ""
        captions.append(caption)
    return captions


def image_records(explanation: Explanation, info: DataInfo) -> list[dict]:
    """The entries of results.json, one per image, as plain values."""
    outputs, labels = explanation.outputs, explanation.labels
    probs = info.output.predictions(outputs, explanation.temperature)
    records = []
    for index, name in enumerate(explanation.names):
        record: dict = {"image": name} if explanation.rows is None else {"image": name, "row": explanation.rows[index]}
        if info.output.is_number:
            record["estimate"] = float(outputs[index, 0]) * info.scale
            record["true"] = None if labels is None else float(labels[index]) * info.scale
        else:
            record["prediction"] = info.class_names[int(outputs[index].argmax())]
            record["true"] = None if labels is None else info.class_names[int(labels[index])]
            record["explained"] = info.class_names[int(explanation.targets[index])]
            record["probs"] = dict(zip(info.class_names, map(float, probs[index]), strict=True))
        if explanation.completeness_error is not None:
            record["completeness_error"] = float(explanation.completeness_error[index])
        near = explanation.neighbors
        if near is not None:
            record["nearest"] = {
                "rows": near.rows[index].tolist(),
                **({} if near.files is None else {"files": near.files[index]}),
                "labels": [info.output.format(label, int(label)) for label in near.labels[index].tolist()],
                "distances": near.distances[index].tolist(),
            }
        records.append(record)
    return records


def explanation_table(records: list[dict]) -> str:
    """The records as a table for the terminal."""
    rows = [["image", "predicted", "", "true", "explained", "IG error", "nearest training images"]]
    for record in records:
        predicted = record.get("prediction", f"{record['estimate']:.1f}" if "estimate" in record else "")
        prob = f"{100 * record['probs'][predicted]:.2f} %" if "probs" in record else ""
        truth = "–" if record["true"] is None else record["true"]
        truth = truth if isinstance(truth, str) else f"{truth:.1f}"
        error = f"{record['completeness_error']:+.3f}" if "completeness_error" in record else "–"
        near = ", ".join(printable(one, NAME_CELL) for one in record.get("nearest", {"labels": "–"})["labels"])
        names = [printable(name, NAME_CELL) for name in (predicted, truth, record.get("explained", "number"))]
        rows.append([record["image"], names[0], prob, *names[1:], error, near])
    return text_table(rows)
