"""A network layer by layer: what comes out, how many parameters, how much arithmetic, how much memory."""

import math
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from src.insight.eval_mode import eval_mode


@dataclass
class Layer:
    """One layer of a network.

    name: as in `named_modules`; kind: its class, with the kernel; output: shape for one image, channels first, pixels
    last: (C, H, W), (N, D) for N tokens, (D,).
    parameters: its own; multiply_adds: per image, of products of matrices and convolutions, no biases, norms or
    activations. memory: bytes of its output for one image, 0 where it gives a view of its input or works in place.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int = 0
    multiply_adds: int = 0
    memory: int = 0


@dataclass
class Summary:
    """A network's layers in the order in which they work, for one image of `shape` (C, H, W)."""

    model: str
    shape: tuple[int, int, int]
    layers: list[Layer] = field(default_factory=list)

    @property
    def parameters(self) -> int:
        """Of the whole network."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """For one image."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def memory(self) -> int:
        """Bytes of all outputs for one image: about what training keeps of it."""
        return sum(layer.memory for layer in self.layers)

    def plain(self) -> dict:
        """Plain values, totals first."""
        totals = {"parameters": self.parameters, "multiply_adds": self.multiply_adds, "activation_bytes": self.memory}
        return {"model": self.model, "input": list(self.shape), **totals, "layers": [asdict(la) for la in self.layers]}


def summarize(model: nn.Module, shape: tuple[int, int, int]) -> Summary:
    """Follow one black image of `shape` (C, H, W) through the network; which is left as it was.

    A layer is a module without modules inside, or one with weights of its own. Weights of modules that are read but
    not called belong to the layer around them. Arithmetic is counted where torch does it, so that attention and
    convolutions written as matrix products count as well; what goes by FFT does not.
    """
    names = {module: name for name, module in model.named_modules()}
    rows: dict[nn.Module, Layer] = {}
    below: list[list[int]] = []  # arithmetic of layers inside the layers that are at work now
    last = {"channels": True}

    def begin(module: nn.Module, args: tuple) -> None:
        below.append([counter.get_total_flops(), 0])

    def end(module: nn.Module, args: tuple, output: object) -> None:
        started, inside = below.pop()
        done = counter.get_total_flops() - started
        if below:
            below[-1][1] += done
        output = output[0] if isinstance(output, tuple | list) and output else output
        if not isinstance(output, Tensor):
            return
        last["channels"] = _channels_first(module, last["channels"])
        view = any(isinstance(arg, Tensor) and _store(arg) == _store(output) for arg in args)
        row = rows.setdefault(module, Layer(names[module], _kind(module), _shape(output, last["channels"])))
        row.output = _shape(output, last["channels"])
        row.multiply_adds += (done - inside) // 2
        row.memory += 0 if view else output.numel() * output.element_size()

    whole = [m for m in names if not list(m.children()) or list(m.parameters(recurse=False))]
    whole = [m for m in whole if not isinstance(m, nn.Sequential)]  # an empty one
    handles = [m.register_forward_pre_hook(begin) for m in whole] + [m.register_forward_hook(end) for m in whole]
    counter = FlopCounterMode(display=False)
    parameter = next(model.parameters(), torch.zeros(()))
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # attention as one operation is not counted, so it is taken apart
    try:
        with eval_mode(model), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            model(torch.zeros(1, *shape, device=parameter.device, dtype=parameter.dtype))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for handle in handles:
            handle.remove()
    rest = counter.get_total_flops() // 2 - sum(row.multiply_adds for row in rows.values())
    layers = list(rows.values())
    if rest > 0:  # between layers
        layers.append(Layer("", type(model).__name__, layers[-1].output, multiply_adds=rest))
    _assign_parameters(model, rows, layers)
    inner = getattr(model, "net", None)
    title = type(model).__name__ + (f" {type(inner).__name__}" if isinstance(inner, nn.Module) else "")
    return Summary(title, tuple(shape), layers)


def _assign_parameters(model: nn.Module, rows: dict[nn.Module, Layer], layers: list[Layer]) -> None:
    """Give each parameter to the layer that holds it, or else to the innermost one around it; every one once."""
    by_name, counted = {row.name: row for row in layers}, set()
    for name, parameter in model.named_parameters():
        if id(parameter) in counted:
            continue
        counted.add(id(parameter))
        owner = name.rpartition(".")[0]
        while owner and owner not in by_name:
            owner = owner.rpartition(".")[0]
        if owner not in by_name:
            by_name[owner] = Layer("", type(model).__name__, layers[-1].output if layers else ())
            layers.append(by_name[owner])
        by_name[owner].parameters += parameter.numel()


def _store(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _channels_first(module: nn.Module, before: bool) -> bool:
    """Whether (B, ., ., .) from this module has its channels at 1; networks of today change it on the way."""
    if getattr(module, "dims", None) in ([0, 3, 1, 2], [0, 2, 3, 1]):  # torchvision's Permute
        return module.dims == [0, 3, 1, 2]
    if isinstance(module, nn.LayerNorm | nn.Linear):
        return type(module).__name__ == "LayerNorm2d"
    weight = getattr(module, "weight", None)
    return before or (isinstance(weight, Tensor) and weight.ndim == 4)


def _shape(output: Tensor, channels_first: bool) -> tuple[int, ...]:
    shape = tuple(output.shape[1:])
    return shape if len(shape) != 3 or channels_first else (shape[2], *shape[:2])


def _kind(module: nn.Module) -> str:
    name, size = type(module).__name__, getattr(module, "kernel_size", None)
    if size is None:
        return name
    sides = (size, size) if isinstance(size, int) else tuple(size)
    stride = getattr(module, "stride", 1)
    stride = stride if isinstance(stride, int) else stride[0]
    extra = f"/{stride}" if stride != 1 and hasattr(module, "weight") else ""
    groups = getattr(module, "groups", 1)
    return f"{name} {'x'.join(map(str, sides))}{extra}" + (f" in {groups} groups" if groups > 1 else "")


def show_shape(shape: tuple[int, ...]) -> str:
    """6 @ 28x28 for maps, 197 x 768 for tokens, 120 for numbers."""
    if len(shape) == 3:
        return f"{shape[0]:,} @ {shape[1]}x{shape[2]}"
    return " x ".join(f"{side:,}" for side in shape)


def short(number: float) -> str:
    """416,520 as 417 k: three digits and k, M, G."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * size:
            digits = max(0, 2 - int(math.log10(number / size * 1.0005)))
            return f"{number / size:.{digits}f} {unit}"
    return f"{number:,.0f}"


def summary_table(summary: Summary, most: int = 40) -> str:
    """A row per layer for a terminal; more than `most` layers are taken together by `condensed`."""
    layers = summary.layers if len(summary.layers) <= most else condensed(summary)
    width = max([len(la.name) for la in layers] + [5])
    kinds = max([len(la.kind) for la in layers] + [4])
    shapes = max([len(show_shape(la.output)) for la in layers] + [len(show_shape(summary.shape)), 6])
    head = f"{'layer':<{width}}  {'kind':<{kinds}}  {'output':>{shapes}}  {'parameters':>12}  {'mult-adds':>15}"
    lines = [f"{head}  {'memory KiB':>11}", f"{'input':<{width}}  {'':<{kinds}}  {show_shape(summary.shape):>{shapes}}"]
    for la in layers:
        numbers = f"{la.parameters:>12,}  {la.multiply_adds:>15,}  {la.memory / 1024:>11,.1f}"
        lines.append(f"{la.name:<{width}}  {la.kind:<{kinds}}  {show_shape(la.output):>{shapes}}  {numbers}")
    numbers = f"{summary.parameters:>12,}  {summary.multiply_adds:>15,}  {summary.memory / 1024:>11,.1f}"
    lines.append(f"{'in all':<{width}}  {'':<{kinds}}  {'':>{shapes}}  {numbers}")
    return "\n".join(lines)


def condensed(summary: Summary) -> list[Layer]:
    """Layers one after the other taken together while their outputs have one size in space, or are tokens.

    Maps of one pixel that larger ones follow (squeeze and excitation) belong to those before them; linear layers stand
    alone.
    """
    groups: list[tuple[object, list[Layer]]] = []
    largest = [max(la.output[1:]) if len(la.output) == 3 else 0 for la in summary.layers]
    for place, layer in enumerate(summary.layers):
        key: object = layer.output[1:] if len(layer.output) == 3 else len(layer.output)
        aside = key == (1, 1) and max(largest[place:]) > 1
        starts = key == 1 and layer.multiply_adds and groups and any(la.multiply_adds for la in groups[-1][1])
        if groups and (aside or key == groups[-1][0]) and not starts:
            groups[-1][1].append(layer)
        else:
            groups.append((key, [layer]))
    return [_merged(members) for _, members in groups]


def _merged(members: list[Layer]) -> Layer:
    first, end = members[0].name, members[-1].name
    working = [layer for layer in members if layer.multiply_adds]
    kind = (working or members)[0].kind if len(working) < 2 else f"{len(working)} layers with weights"
    output = next(layer.output for layer in reversed(members) if layer.output[1:] != (1, 1) or layer is members[0])
    sums = {key: sum(getattr(layer, key) for layer in members) for key in ("parameters", "multiply_adds", "memory")}
    return Layer(first if first == end else f"{first} to {end}", kind, output, **sums)
