"""Write an explanation into its folder: a figure per kind, and the arrays behind them."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor, nn

from src.data.batches import BatchDataset
from src.data.info import DataInfo, NumberOutput
from src.files import write_json
from src.insight import attribution_figures, layer_figures
from src.insight.architecture import architecture_figure
from src.insight.explanation import Explanation, image_records, make_captions
from src.insight.grad_cam import conv_layers
from src.insight.summary import Summary
from src.models.structure import predict_logits
from src.plotting import class_labels, label, shorten_path


def write_architecture(folder: Path, summary: Summary) -> None:
    """Write figures/architecture.png."""
    _write_figures(folder, {"architecture": architecture_figure(summary)})


def write_explanation_figures(
    folder: Path,
    explanation: Explanation,
    net: nn.Module,
    kinds: dict[str, str],
    layer: str | None,
    train_split: BatchDataset | None,
) -> None:
    """Write a PNG into figures/ for every kind that the explanation holds.

    net: the `InferenceModel` that was explained. kinds: of layers, by name. layer: whose maps to show for all images;
    None shows all layers for the first image. train_split: of the neighbors.
    """
    info, images, captions, figures = net.info, explanation.images.cpu(), make_captions(explanation, net.info), {}
    if explanation.attributions:
        maps = {name: values.cpu() for name, values in explanation.attributions.items()}
        figures["attributions"] = attribution_figures.attribution_figure(images, captions, maps, _notes(explanation))
    if explanation.feature_maps and layer:
        figures["feature_maps"] = layer_figures.layer_figure(images, explanation.feature_maps[layer].cpu(), layer)
    elif explanation.feature_maps:
        maps = {name: values[0].cpu() for name, values in explanation.feature_maps.items() if values.ndim in (2, 4)}
        title = f"feature maps of {captions[0].name}; prediction: {captions[0].prediction}"
        figures["feature_maps"] = layer_figures.feature_map_figure(images[0], maps, kinds, title)
    if explanation.filters:
        figures["filters"] = layer_figures.filter_figure(explanation.filters, bool(conv_layers(net.model)))
    if explanation.class_images:
        figures["class_images"] = _class_image_figure(*explanation.class_images, net)
    if explanation.neighbors:
        figures["neighbours"] = _neighbor_figure(explanation, train_split, info)
    _write_figures(folder, figures)


def _notes(explanation: Explanation) -> list[str]:
    notes = ["each map on its own scale"]
    if explanation.cam_layer is not None:
        where = "each value at the center of its receptive field, edges continued"
        where = where if explanation.cam_geometry else "stretched over the image: its receptive fields are unknown"
        notes.append(f"Grad-CAM: layer {label(explanation.cam_layer)} at its own resolution, {where}")
    if explanation.completeness_error is not None:
        error = float(explanation.completeness_error.abs().max())
        notes.append(f"integrated gradients sum to output(image) - output(black), within {error:.2g}")
    return notes


def _class_image_figure(images: Tensor, columns: Tensor, signs: Tensor, net: nn.Module) -> Figure:
    output, outputs = net.info.output, predict_logits(net, images).cpu()
    if isinstance(output, NumberOutput):
        title = f"images that minimize and maximize the {output.quantity}"
        names = ["smallest" if sign < 0 else "largest" for sign in signs.tolist()]
        notes = [output.format(float(value), 0) for value in outputs[:, 0]]
    else:
        title = "images that maximize each class, and its probability"
        labels = class_labels(output.class_names, 18)
        names = [labels[column] for column in columns.tolist()]
        probs = output.predictions(outputs, net.temperature).gather(1, columns.unsqueeze(1)).squeeze(1)
        notes = [f"{100 * prob:.1f} %" for prob in probs.tolist()]
    return layer_figures.class_image_figure(images.cpu(), names, notes, title)


def _neighbor_figure(explanation: Explanation, train_split: BatchDataset, info: DataInfo) -> Figure:
    near = explanation.neighbors
    images = train_split[near.positions.flatten()][0].unflatten(0, near.positions.shape)
    labels = [[info.output.format(label, int(label)) for label in line] for line in near.labels.tolist()]
    note = f"the nearest of {near.searched:,} training images by the head's inputs: label  ·  Euclidean distance, "
    note += "row of the training file" if near.files is None else "file"
    captions = make_captions(explanation, info)
    names = [[f"row {row}" for row in rows] for rows in near.rows.tolist()]
    if near.files is not None:
        names = [[label(shorten_path(file, 14)) for file in files] for files in near.files]
    return attribution_figures.neighbor_figure(
        explanation.images.cpu(), captions, images, labels, near.distances, note, names
    )


def _write_figures(folder: Path, figures: dict[str, Figure]) -> None:
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(folder / "figures" / f"{name}.png", dpi=120)


def write_explanation(path: Path, origin: dict, explanation: Explanation, summary: Summary, info: DataInfo) -> None:
    """Write results.json. origin: of the network; the explanation holds that of the images."""
    results = {**origin, **explanation.origin, "methods": explanation.methods}
    write_json(path, {**results, "images": image_records(explanation, info), "summary": summary.plain()})


def write_arrays(path: Path, explanation: Explanation) -> None:
    """Write everything the explanation holds as arrays; names of kinds with several arrays hold a /."""
    arrays = {"images": explanation.images, "outputs": explanation.outputs}
    arrays |= {"explained": explanation.targets, "labels": explanation.labels}
    arrays |= {f"maps/{name}": values for name, values in explanation.attributions.items()}
    arrays |= {f"feature_maps/{name}": values for name, values in explanation.feature_maps.items()}
    arrays |= {f"filters/{name}": values for name, values in explanation.filters.items()}
    if explanation.neighbors:
        near = vars(explanation.neighbors)
        arrays |= {f"neighbours/{name}": values for name, values in near.items() if isinstance(values, Tensor)}
    arrays["completeness_error"] = explanation.completeness_error
    if explanation.class_images:
        names = ("class_images", "class_images/explained", "class_images/sign")
        arrays |= dict(zip(names, explanation.class_images, strict=True))
    np.savez_compressed(path, **{name: values.cpu().numpy() for name, values in arrays.items() if values is not None})
