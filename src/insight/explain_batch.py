"""Explain the predictions for a batch of images: select them, and fill in an `Explanation` kind by kind."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from src.data.batches import BatchDataset
from src.data.info import DataInfo
from src.errors import InputError, choice, require
from src.insight import layer_figures
from src.insight.attribution import METHODS, completeness_error
from src.insight.explanation import Explanation, Neighbors
from src.insight.features import feature_maps, maximize_activation, nearest_features
from src.insight.grad_cam import conv_layers, last_conv, list_names
from src.insight.receptive_field import find_geometry
from src.insight.summary import Layer, Summary, condense
from src.models.structure import extract_features

WHICH = ("worst", "best", "random", "uncertain")
MAX_CLASS_IMAGES = 40  # with more classes, only those that are explained get an image
PASSIVE = ("Flatten", "Dropout", "Identity", "Sequential")  # layers whose maps are those of the layer before


def select_images(which: str, count: int, outputs: Tensor, labels: Tensor, info: DataInfo, seed: int = 0) -> Tensor:
    """Positions of up to `count` images: worst and best by the loss, or by the error of a number; uncertain by the gap
    between the two likeliest classes; random by `seed`, in ascending order.

    Raises InputError for any other word, and for uncertain if the network estimates a number.
    """
    choice("which", which, WHICH)
    if which == "random":
        generator = torch.Generator().manual_seed(seed)
        return torch.randperm(len(labels), generator=generator)[:count].sort().values
    if which == "uncertain":
        info.output.require_classes("which=uncertain", "give worst, best or random")
        likeliest = outputs.softmax(1).topk(2).values
        scores = likeliest[:, 1] - likeliest[:, 0]
    else:
        scores = info.output.loss(outputs.double(), labels, reduction="none")
    return scores.argsort(descending=which != "best", stable=True)[:count]


def select_methods(
    requested: list[str] | None, model: nn.Module, layer: str | None, summary: Summary
) -> tuple[list[str], str | None]:
    """The methods to use and the layer of Grad-CAM; without a request, every method that the network supports.

    The layer is the given one, or the last convolution whose maps have more than one pixel. A given layer without maps
    rules Grad-CAM out.
    Raises InputError for a method that does not exist or that the network does not support.
    """
    without_maps = any(la.name == layer and len(la.output) != 3 for la in summary.layers)
    layer = layer or last_conv(model, tuple(la.name for la in summary.layers if la.output[1:] == (1, 1)))
    supported = [name for name in METHODS if name != "grad_cam" or (conv_layers(model) and not without_maps)]
    for name in requested or []:
        require(name in METHODS, f"methods={name}: one or more of {', '.join(METHODS)}")
        if name not in supported:
            where = f"layer={layer}" if without_maps else type(model).__name__
            reason = f"grad_cam needs the maps of a convolution, and {where} has none"
            raise InputError(f"methods={name}: {reason}; give {', '.join(supported)}")
    return list(dict.fromkeys(requested)) if requested else supported, layer


def check_layer(layer: str | None, model: nn.Module) -> None:
    """Raise InputError, listing the names, unless `layer` is None or one of the network's modules."""
    names = [name for name, module in model.named_modules() if name and not isinstance(module, nn.Sequential)]
    known = layer is None or layer in dict(model.named_modules())
    require(known and layer != "", f"layer={layer} does not exist; layers: {list_names(names)}")


def add_attributions(
    explanation: Explanation, net, methods: list[str], layer: str | None, options: dict[str, dict]
) -> None:
    """Fill in the attributions, the methods' options, Grad-CAM's layer and geometry, and the completeness error.

    net: an `InferenceModel`. layer: of Grad-CAM, by its name in net.model. options: keyword arguments by method.
    """
    images, targets = explanation.images, explanation.targets
    for name in methods:
        arguments = explanation.methods[name] = dict(options.get(name, {}))
        if name == "grad_cam":
            arguments = {"layer": f"model.{layer}"}
            geometry = find_geometry(net, tuple(images.shape[1:]), net.get_submodule(arguments["layer"]))
            explanation.cam_layer, explanation.cam_geometry = layer, geometry
            places = {"first_px": geometry.first, "step_px": geometry.step} if geometry else "stretched"
            explanation.methods[name] = {"layer": layer, "places": places}
        try:
            explanation.attributions[name] = METHODS[name](net, images, targets, **arguments)
        except InputError as error:
            raise InputError(str(error).replace("layer=model.", "layer=").replace("model.", "")) from None
    maps = explanation.attributions.get("integrated_gradients")
    if maps is not None:
        explanation.completeness_error = completeness_error(net, images, maps, targets)


def add_feature_maps(explanation: Explanation, net, summary: Summary, layer: str | None) -> dict[str, str]:
    """Fill in the feature maps; returns the kinds of layers by name.

    layer: only this one's maps, of all images; None takes those of the first image, of up to 14 layers.
    """
    layers = [la for la in summary.layers if la.kind not in PASSIVE and la.name]
    if len(layers) > layer_figures.MAX_LAYERS:
        layers = [enclosing_block(la, summary, net.model) for la in condense(summary) if la.name]
    names = [layer] if layer else [la.name for la in layers if len(la.output) != 2]
    images = net.normalize(explanation.images if layer else explanation.images[:1])
    maps = feature_maps(net.model, images, names)
    for la in layers:
        values = maps.get(la.name)
        if values is not None and values.ndim == 4 and tuple(values.shape[1:]) != la.output:  # channels last
            maps[la.name] = values.movedim(3, 1)
    explanation.feature_maps = maps
    return {la.name: la.kind for la in layers}


def enclosing_block(group: Layer, summary: Summary, model: nn.Module) -> Layer:
    """A `condense`d group as the largest module within it that ends with it, such as a residual block with both its
    paths; as its last layer if there is no such module."""
    first, _, last = group.name.rpartition(" to ")
    order = [la.name for la in summary.layers]
    members = set(order[order.index(first or last) : order.index(last) + 1])
    parts, modules = last.split("."), dict(model.named_modules())
    for count in range(1, len(parts)):
        name = ".".join(parts[:count])
        if all(other in members for other in order if other.startswith(f"{name}.")):
            return replace(group, name=name, kind=f"output of {type(modules[name]).__name__}")
    return replace(group, name=last)


def add_class_images(explanation: Explanation, net, seed: int) -> None:
    """Fill in the image that maximizes each class; for a number, the images that minimize and maximize it."""
    if net.info.output.is_number:
        columns, signs = torch.zeros(2, dtype=torch.long), torch.tensor([-1.0, 1.0])
    else:
        columns = torch.arange(net.info.num_classes)
        if len(columns) > MAX_CLASS_IMAGES:
            columns = explanation.targets.cpu().unique()
        signs = torch.ones(len(columns))
    images = maximize_activation(net, net.info.shape, columns, signs, seed=seed)
    explanation.class_images = images, columns, signs


def add_neighbors(explanation: Explanation, net, count: int, split: BatchDataset, searched: Tensor) -> None:
    """Fill in the `count` nearest training images by what the head reads; no image is its own neighbor.

    split: the training split. searched: the positions in it to compare.
    """
    images, own = explanation.images, explanation.train_positions
    batches = (split[positions] for positions in searched.split(1000))
    queries, _ = extract_features(net.model, [(net.normalize(images), torch.zeros(len(images)))])
    normalized = ((net.normalize(batch.to(images.device)), truth) for batch, truth in batches)
    bank, labels = extract_features(net.model, normalized)
    exclude = None
    if own is not None:
        bank_rows = torch.full((len(split),), -1)
        bank_rows[searched] = torch.arange(len(searched))
        exclude = bank_rows[own].to(images.device)
    distances, nearest = (values.cpu() for values in nearest_features(queries, bank, count, exclude))
    positions = searched[nearest]
    explanation.neighbors = Neighbors(
        distances=distances,
        positions=positions,
        rows=split.indices[positions],
        files=None if (files := split.names) is None else [[files[i] for i in row] for row in positions.tolist()],
        labels=labels[nearest],
        features=queries.cpu(),
        searched=len(bank) - (own is not None),
    )
