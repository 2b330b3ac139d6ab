"""A trained network's answers to some images explained: maps, neighbours, feature maps, as values and as text."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from src.data.info import DataInfo
from src.errors import InputError, require
from src.insight import layer_figures
from src.insight.attribution import METHODS, completeness_error
from src.insight.attribution_figures import Case
from src.insight.eval_mode import list_names
from src.insight.features import conv_filters, feature_maps, maximize_classes, nearest_features
from src.insight.grad_cam import conv_layers, last_conv
from src.insight.receptive_field import MapGeometry, find_geometry
from src.insight.summary import Layer, Summary, condensed
from src.models.structure import read_features

WHICH = ("worst", "best", "random", "uncertain")
SHOWN_CLASSES = 40  # more answers than this: only those that are explained get an image
PLAIN = ("Flatten", "Dropout", "Identity", "Sequential")  # layers whose maps are those of the layer before


@dataclass
class Explanation:
    """What was found out, by kind; images are the first dimension of everything but `class_images`."""

    images: Tensor
    names: list[str]
    rows: list[int] | None  # of their data set's file, None for pictures of files
    labels: Tensor | None
    outputs: Tensor
    columns: Tensor
    maps: dict[str, Tensor] = field(default_factory=dict)
    error: Tensor | None = None
    layer: str | None = None
    places: MapGeometry | None = None
    features: dict[str, Tensor] = field(default_factory=dict)
    conv_filters: dict[str, Tensor] = field(default_factory=dict)
    maximize_classes: tuple[Tensor, Tensor, Tensor] | None = None  # images, columns, signs
    near: dict = field(default_factory=dict)


def choose_images(which: str, count: int, outputs: Tensor, labels: Tensor, info: DataInfo, seed: int = 0) -> Tensor:
    """Positions of up to `count` images (N,): worst and best by the loss, or by the error of a number; uncertain by the
    gap between the two likeliest classes; random by `seed`, in their own order.

    Raises InputError for another word, or for uncertain where a number is estimated.
    """
    require(which in WHICH, f"which={which}: one of {', '.join(WHICH)}")
    if which == "random":
        generator = torch.Generator().manual_seed(seed)
        return torch.randperm(len(labels), generator=generator)[:count].sort().values
    if info.target:
        require(which != "uncertain", f"which=uncertain is for classes, this network gives {info.target}: worst, best")
        badness = (outputs[:, 0] - labels).abs()
    elif which == "uncertain":
        likeliest = outputs.softmax(1).topk(2).values
        badness = likeliest[:, 1] - likeliest[:, 0]
    else:
        badness = torch.nn.functional.cross_entropy(outputs.double(), labels, reduction="none")
    return badness.argsort(descending=which != "best", stable=True)[:count]


def choose_methods(
    asked: list[str] | None, model: torch.nn.Module, layer: str | None, summary: Summary
) -> tuple[list[str], str | None]:
    """The methods to use and the layer of Grad-CAM; all that the network can have, where none are asked for.

    The layer is the given one, or the last convolution whose maps have more than one pixel. Where the given one has no
    maps, Grad-CAM is left out.
    Raises InputError for a method that does not exist or that the network cannot have.
    """
    flat = {la.name for la in summary.layers if la.name == layer and len(la.output) != 3}
    layer = layer or last_conv(model, tuple(la.name for la in summary.layers if la.output[1:] == (1, 1)))
    possible = [name for name in METHODS if name != "grad_cam" or (conv_layers(model) and not flat)]
    for name in asked or []:
        require(name in METHODS, f"methods={name}: one or more of {', '.join(METHODS)}")
        if name not in possible:
            where = f"layer={layer}" if flat else type(model).__name__
            why = f"grad_cam weighs the maps of a convolution, and {where} has none"
            raise InputError(f"methods={name}: {why}; it can have {', '.join(possible)}")
    return list(dict.fromkeys(asked)) if asked else possible, layer


def check_layer(layer: str | None, model: torch.nn.Module) -> None:
    """Raise InputError, listing the names, unless `layer` is one of the network's modules."""
    names = [name for name, module in model.named_modules() if name and not isinstance(module, torch.nn.Sequential)]
    known = layer is None or layer in dict(model.named_modules())
    require(known and layer != "", f"layer={layer} does not exist; layers: {list_names(names)}")


def attribute(found: Explanation, net, methods: list[str], layer: str | None, options: dict[str, dict]) -> None:
    """Fill in the maps, the layer of Grad-CAM, where its maps lie, and how incomplete integrated gradients are.

    net: a `Recogniser`; layer: by its name in net.model; options: more arguments by method.
    """
    for name in methods:
        more = dict(options.get(name, {}))
        if name == "grad_cam":
            more["layer"], found.layer = f"model.{layer}", layer
            found.places = find_geometry(net, tuple(found.images.shape[1:]), net.get_submodule(more["layer"]))
        try:
            found.maps[name] = METHODS[name](net, found.images, found.columns, **more)
        except InputError as error:
            raise InputError(str(error).replace("layer=model.", "layer=").replace("model.", "")) from None
    if "integrated_gradients" in found.maps:
        found.error = completeness_error(net, found.images, found.maps["integrated_gradients"], found.columns)


def look_inside(found: Explanation, net, summary: Summary, layer: str | None) -> dict[str, str]:
    """Fill in feature maps and filters; returns the kinds of the layers whose maps they are.

    layer: only this one's maps, of all images; else those of the first image, of up to 14 layers.
    """
    layers = [la for la in summary.layers if la.kind not in PLAIN and la.name]
    if len(layers) > layer_figures.MOST_LAYERS:
        layers = [whole(la, summary, net.model) for la in condensed(summary) if la.name]
    names = [layer] if layer else [la.name for la in layers if len(la.output) != 2]
    images = net.normalize(found.images if layer else found.images[:1])
    found.features = feature_maps(net.model, images, names)
    for la in layers:
        values = found.features.get(la.name)
        if values is not None and tuple(values.shape[1:]) != la.output and values.ndim == 4:  # channels last
            found.features[la.name] = values.movedim(3, 1)
    found.filters = conv_filters(net.model, net.info.shape)
    return {la.name: la.kind for la in layers}


def whole(group: Layer, summary: Summary, model: torch.nn.Module) -> Layer:
    """What a group of `condensed` gives: the output of the largest module that ends with it and lies in it, such as a
    residual block with both its paths; of its last layer where there is no such module."""
    first, _, end = group.name.rpartition(" to ")
    order = [la.name for la in summary.layers]
    members = set(order[order.index(first or end) : order.index(end) + 1])
    parts, modules = end.split("."), dict(model.named_modules())
    for count in range(1, len(parts)):
        name = ".".join(parts[:count])
        if all(other in members for other in order if other.startswith(f"{name}.")):
            return replace(group, name=name, kind=f"output of {type(modules[name]).__name__}")
    return replace(group, name=end)


def maximize_activation(found: Explanation, net, seed: int) -> None:
    """Fill in the image that excites each class most; of a number, the ones with the smallest and the largest."""
    if net.info.target:
        columns, signs = torch.zeros(2, dtype=torch.long), torch.tensor([-1.0, 1.0])
    else:
        every = torch.arange(net.info.num_classes)
        columns = every if len(every) <= SHOWN_CLASSES else found.columns.cpu().unique()
        signs = torch.ones(len(columns))
    found.class_images = maximize_classes(net, net.info.shape, columns, signs, seed=seed), columns, signs


def find_neighbours(
    found: Explanation, net, count: int, bank: Iterable[tuple[Tensor, Tensor]], rows: Tensor, own: Tensor | None
) -> None:
    """Fill in the `count` nearest of the training images that `bank` gives, by what the head reads.

    rows: their positions in the training split; own: the positions of the explained images there, if they are of it.
    Leaves the positions of those found in found.near["positions"].
    """
    device = found.images.device
    mine, _ = read_features(net.model, [(net.normalize(found.images), torch.zeros(len(found.images)))])
    theirs, labels = read_features(net.model, ((net.normalize(some.to(device)), truth) for some, truth in bank))
    if own is not None:
        places = torch.full((int(max(rows.max(), own.max())) + 1,), -1)
        places[rows] = torch.arange(len(rows))
        own = places[own].to(device)
    apart, near = nearest_features(mine, theirs, count, own)
    near = near.cpu()
    found.near = {"distances": apart.cpu(), "positions": rows[near], "labels": labels[near], "features": mine.cpu()}
    found.near["searched"] = len(theirs) - (own is not None)


def format_value(value: float, column: int, info: DataInfo) -> str:
    """A class by its name, or a number with its unit."""
    if info.target:
        return f"{value * info.scale:.1f} {info.target.rpartition('_')[2]}"
    return info.class_names[column]


def cases(found: Explanation, info: DataInfo) -> list[Case]:
    """What is written beside each image."""
    outputs, probs = found.outputs, found.outputs.softmax(1)
    written = []
    for row, name in enumerate(found.names):
        top, column = int(outputs[row].argmax()), int(found.columns[row])
        case = Case(
            name if len(name) <= 28 else f"…{name[-27:]}", f"says {format_value(float(outputs[row, 0]), top, info)}"
        )
        truth = None if found.labels is None else found.labels[row]
        if info.target:
            case.truth = "" if truth is None else f"is {format_value(float(truth), 0, info)}"
        else:
            case.says += f"  {100 * probs[row, top]:.1f} %"
            if truth is not None:
                case.truth = f"is {info.class_names[truth]}  {100 * probs[row, truth]:.1f} %"
                case.right = top == int(truth)
            case.about = f"maps: {info.class_names[column]}" if column != top else ""
        written.append(case)
    return written


def records(found: Explanation, info: DataInfo) -> list[dict]:
    """What results.json says of each image, as plain values."""
    probs, lines = found.outputs.softmax(1), []
    for row, name in enumerate(found.names):
        line: dict = {"image": name} if found.rows is None else {"image": name, "row": found.rows[row]}
        if info.target:
            line["estimate"] = float(found.outputs[row, 0]) * info.scale
            line["true"] = None if found.labels is None else float(found.labels[row]) * info.scale
        else:
            line["prediction"] = info.class_names[int(found.outputs[row].argmax())]
            line["true"] = None if found.labels is None else info.class_names[int(found.labels[row])]
            line["explained"] = info.class_names[int(found.columns[row])]
            line["probs"] = dict(zip(info.class_names, map(float, probs[row]), strict=True))
        if found.error is not None:
            line["completeness_error"] = float(found.error[row])
        if found.near:
            near = {key: found.near[key][row].tolist() for key in ("rows", "labels", "distances")}
            near["labels"] = [format_value(label, int(label), info) for label in near["labels"]]
            line["nearest"] = near
        lines.append(line)
    return lines


def explanation_table(lines: list[dict]) -> str:
    """The records as a table for a terminal."""
    rows = [["image", "says", "", "is", "explained", "IG error", "nearest training images"]]
    for line in lines:
        says = line.get("prediction", f"{line['estimate']:.1f}" if "estimate" in line else "")
        prob = f"{100 * line['probs'][says]:.2f} %" if "probs" in line else ""
        truth = (
            line["true"] if isinstance(line["true"], str) else "–" if line["true"] is None else f"{line['true']:.1f}"
        )
        error = f"{line['completeness_error']:+.3f}" if "completeness_error" in line else "–"
        near = ", ".join(line["nearest"]["labels"]) if "nearest" in line else "–"
        rows.append([line["image"], says, prob, truth, line.get("explained", "number"), error, near])
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
