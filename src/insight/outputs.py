"""What an explanation leaves in its folder: a picture per kind, and the arrays behind them."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor, nn

from src.data.batches import Batches
from src.data.info import DataInfo
from src.insight import attribution_figures, layer_figures
from src.insight.architecture import architecture
from src.insight.eval_mode import predict_logits
from src.insight.explain_batch import Explanation, cases, format_value
from src.insight.grad_cam import conv_layers
from src.insight.summary import Summary


def write_architecture(folder: Path, summary: Summary) -> None:
    """The network as figures/architecture.png."""
    _write(folder, {"architecture": architecture(summary)})


def write_explanation_figures(
    folder: Path, found: Explanation, net: nn.Module, kinds: dict[str, str], layer: str | None, bank: Batches | None
) -> None:
    """Every kind that was found out, as PNG in figures/.

    net: the `Recogniser` that was explained; kinds: of the layers, by name; layer: the one whose maps of all images are
    wanted; bank: the training images among which neighbours were found.
    """
    info, images, text, figures = net.info, found.images.cpu(), cases(found, net.info), {}
    if found.maps:
        maps = {name: values.cpu() for name, values in found.maps.items()}
        figures["attributions"] = attribution_figures.attribution_figure(images, text, maps, _notes(found))
    if found.features and layer:
        figures["feature_maps"] = layer_figures.layer_figure(images, found.features[layer].cpu(), layer)
    elif found.features:
        maps = {name: values[0].cpu() for name, values in found.features.items() if values.ndim in (2, 4)}
        title = f"feature maps of {found.names[0]}: {text[0].says}"
        figures["feature_maps"] = layer_figures.feature_map_figure(images[0], maps, kinds, title)
    if found.filters:
        figures["filters"] = layer_figures.filter_figure(found.filters, bool(conv_layers(net.model)))
    if found.class_images:
        figures["class_images"] = _class_images(found, net)
    if found.near:
        figures["neighbours"] = _neighbours(found, bank, info)
    _write(folder, figures)


def _notes(found: Explanation) -> list[str]:
    lines = ["each map on its own scale"]
    if "grad_cam" in found.maps:
        where = "each value over the middle of the pixels it sees, edges continued"
        where = where if found.places else "stretched over the image: where its values lie cannot be told"
        lines.append(f"Grad-CAM: layer {found.layer}, as coarse as that is, {where}")
    if found.error is not None:
        share = float(found.error.abs().max())
        lines.append(f"integrated gradients sum to the answer minus that to black, within {share:.2g}")
    return lines


def _class_images(found: Explanation, net: nn.Module) -> Figure:
    images, columns, signs = found.class_images
    outputs = predict_logits(net, images).cpu()
    if net.info.target:
        title = f"what the network sees as the most extreme {net.info.target.rpartition('_')[0]}"
        names = ["smallest" if sign < 0 else "largest" for sign in signs.tolist()]
        notes = [format_value(float(value), 0, net.info) for value in outputs[:, 0]]
    else:
        title = "what excites each class most, and its probability"
        names = [net.info.class_names[column] for column in columns.tolist()]
        probs = outputs.softmax(1).gather(1, columns.unsqueeze(1)).squeeze(1)
        notes = [f"{100 * prob:.1f} %" for prob in probs.tolist()]
    return layer_figures.class_image_figure(images.cpu(), names, notes, title)


def _neighbours(found: Explanation, bank: Batches, info: DataInfo) -> Figure:
    positions, distances = found.near["positions"], found.near["distances"]
    near = bank[positions.flatten()][0].unflatten(0, positions.shape)
    labels = [[format_value(label, int(label), info) for label in some] for some in found.near["labels"].tolist()]
    note = f"nearest of {found.near['searched']:,} training images by what the head reads: label  ·  Euclidean distance"
    note += "; their rows of the training file"
    places = found.near["rows"].tolist()
    return attribution_figures.neighbour_figure(
        found.images.cpu(), cases(found, info), near, labels, distances, note, places
    )


def _write(folder: Path, figures: dict[str, Figure]) -> None:
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(folder / "figures" / f"{name}.png", dpi=120)


def write_arrays(path: Path, found: Explanation) -> None:
    """Everything that was found out as arrays: images, outputs, and by kind with / in the name."""
    arrays = {"images": found.images, "outputs": found.outputs, "explained": found.columns, "labels": found.labels}
    arrays |= {f"maps/{name}": values for name, values in found.maps.items()}
    arrays |= {f"feature_maps/{name}": values for name, values in found.features.items()}
    arrays |= {f"filters/{name}": values for name, values in found.filters.items()}
    arrays |= {f"neighbours/{name}": values for name, values in found.near.items() if isinstance(values, Tensor)}
    arrays["completeness_error"] = found.error
    if found.class_images:
        arrays |= dict(
            zip(("class_images", "class_images/explained", "class_images/sign"), found.class_images, strict=True)
        )
    np.savez_compressed(path, **{name: values.cpu().numpy() for name, values in arrays.items() if values is not None})
