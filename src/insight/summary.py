"""Summarize a network layer by layer: output shape, parameters, multiply-adds, memory."""

import math
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from src.models.structure import eval_mode
from src.plotting import text_table


@dataclass
class Layer:
    """One layer of a network, for one image."""

    name: str  # as in `named_modules`
    kind: str  # class and kernel size
    output: tuple[int, ...]  # (C, H, W), (N, D) for N tokens, (D,)
    parameters: int = 0  # its own
    multiply_adds: int = 0  # of matrix products and convolutions, without biases, norms and activations
    memory: int = 0  # bytes of its output, 0 if that is a view of its input or made in place


@dataclass
class Summary:
    """A network's layers in the order of computation, for one image of `shape` (C, H, W)."""

    model: str
    shape: tuple[int, int, int]
    layers: list[Layer] = field(default_factory=list)

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def memory(self) -> int:
        """Bytes of all outputs for one image: about what training stores for the backward pass."""
        return sum(layer.memory for layer in self.layers)

    def plain(self) -> dict:
        """Plain values, totals first."""
        totals = {"parameters": self.parameters, "multiply_adds": self.multiply_adds, "activation_bytes": self.memory}
        return {"model": self.model, "input": list(self.shape), **totals, "layers": [asdict(la) for la in self.layers]}


def summarize(model: nn.Module, shape: tuple[int, int, int]) -> Summary:
    """Summarize a network by the forward pass of one black image of `shape` (C, H, W); the network stays as it was.

    A layer is a module without children, or one with weights of its own. Weights of modules that are read but never
    called belong to the layer around them. Arithmetic is counted where torch does it, so that attention and
    convolutions written as matrix products count; FFTs do not.
    """
    recorder = _LayerRecorder(model)
    layers = [m for m in recorder.names if not list(m.children()) or list(m.parameters(recurse=False))]
    layers = [m for m in layers if not isinstance(m, nn.Sequential)]  # an empty one
    parameter = next(model.parameters(), torch.zeros(()))
    fused_attention = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the FLOP counter does not know fused attention
    try:
        with ExitStack() as hooks, eval_mode(model), torch.no_grad(), sdpa_kernel(SDPBackend.MATH), recorder.counter:
            for layer in layers:
                hooks.enter_context(layer.register_forward_pre_hook(recorder.before))
                hooks.enter_context(layer.register_forward_hook(recorder.after))
            model(torch.zeros(1, *shape, device=parameter.device, dtype=parameter.dtype))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused_attention)
    rows = list(recorder.rows.values())
    between_layers = recorder.counter.get_total_flops() // 2 - sum(row.multiply_adds for row in rows)
    if between_layers > 0:
        rows.append(Layer("", type(model).__name__, rows[-1].output, multiply_adds=between_layers))
    _assign_parameters(model, rows)
    inner = getattr(model, "net", None)
    title = type(model).__name__ + (f" {type(inner).__name__}" if isinstance(inner, nn.Module) else "")
    return Summary(title, tuple(shape), rows)


class _LayerRecorder:
    def __init__(self, model: nn.Module):
        self.names = {module: name for name, module in model.named_modules()}
        self.rows: dict[nn.Module, Layer] = {}
        self.counter = FlopCounterMode(display=False)
        self._running: list[list[int]] = []  # of layers being computed: FLOPs before it, FLOPs of layers inside it
        self._channels_first = True

    def before(self, module: nn.Module, args: tuple) -> None:
        self._running.append([self.counter.get_total_flops(), 0])

    def after(self, module: nn.Module, args: tuple, output: object) -> None:
        flops_before, flops_inside = self._running.pop()
        flops = self.counter.get_total_flops() - flops_before
        if self._running:
            self._running[-1][1] += flops
        output = output[0] if isinstance(output, tuple | list) and output else output
        if not isinstance(output, Tensor):
            return
        self._channels_first = _channels_first(module, self._channels_first)
        storage, shape = output.untyped_storage().data_ptr(), tuple(output.shape[1:])
        is_view = any(isinstance(arg, Tensor) and arg.untyped_storage().data_ptr() == storage for arg in args)
        if len(shape) == 3 and not self._channels_first:
            shape = (shape[2], *shape[:2])
        row = self.rows.setdefault(module, Layer(self.names[module], _kind(module), shape))
        row.output = shape
        row.multiply_adds += (flops - flops_inside) // 2
        row.memory += 0 if is_view else output.numel() * output.element_size()


def _assign_parameters(model: nn.Module, layers: list[Layer]) -> None:
    """Count each parameter once: for the layer that holds it, else for the innermost layer around it."""
    by_name = {layer.name: layer for layer in layers}
    for name, parameter in model.named_parameters():  # each once, by its first name
        owner = name.rpartition(".")[0]
        while owner and owner not in by_name:
            owner = owner.rpartition(".")[0]
        if owner not in by_name:
            by_name[owner] = Layer("", type(model).__name__, layers[-1].output if layers else ())
            layers.append(by_name[owner])
        by_name[owner].parameters += parameter.numel()


def _channels_first(module: nn.Module, before: bool) -> bool:
    """Whether the output (B, ., ., .) has its channels at 1; recent networks change that on the way."""
    if getattr(module, "dims", None) in ([0, 3, 1, 2], [0, 2, 3, 1]):  # torchvision's Permute
        return module.dims == [0, 3, 1, 2]
    if isinstance(module, nn.LayerNorm | nn.Linear):
        return type(module).__name__ == "LayerNorm2d"
    weight = getattr(module, "weight", None)
    return before or (isinstance(weight, Tensor) and weight.ndim == 4)


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


def format_shape(shape: tuple[int, ...]) -> str:
    """6 @ 28x28 for maps, 197 x 768 for tokens, 120 for numbers."""
    if len(shape) == 3:
        return f"{shape[0]:,} @ {shape[1]}x{shape[2]}"
    return " x ".join(f"{side:,}" for side in shape)


def abbreviate(number: float) -> str:
    """417 k for 416,520: three digits and k, M or G."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * size:
            digits = max(0, 2 - int(math.log10(number / size * 1.0005)))
            return f"{number / size:.{digits}f} {unit}"
    return f"{number:,.0f}"


def summary_table(summary: Summary, max_rows: int = 40) -> str:
    """A row per layer for the terminal; more than `max_rows` layers are condensed."""
    rows = [["layer", "kind", "output", "parameters", "mult-adds", "memory KiB"]]
    rows.append(["input", "", format_shape(summary.shape)])
    for la in summary.layers if len(summary.layers) <= max_rows else condense(summary):
        rows.append([la.name, la.kind, format_shape(la.output), *_costs(la)])
    rows.append(["total", "", "", *_costs(summary)])
    return text_table(rows, right=(2, 3, 4, 5))


def _costs(row: Layer | Summary) -> list[str]:
    return [f"{row.parameters:,}", f"{row.multiply_adds:,}", f"{row.memory / 1024:,.1f}"]


def condense(summary: Summary) -> list[Layer]:
    """Merge consecutive layers whose outputs have the same height and width, or are tokens.

    Maps of one pixel that larger maps follow (squeeze and excitation) join the layers before them; linear layers are
    not merged.
    """
    groups: list[tuple[object, list[Layer]]] = []
    largest = [max(la.output[1:]) if len(la.output) == 3 else 0 for la in summary.layers]
    for index, layer in enumerate(summary.layers):
        key: object = layer.output[1:] if len(layer.output) == 3 else len(layer.output)
        is_side = key == (1, 1) and max(largest[index:]) > 1
        is_linear = key == 1 and layer.multiply_adds and groups and any(la.multiply_adds for la in groups[-1][1])
        if groups and (is_side or key == groups[-1][0]) and not is_linear:
            groups[-1][1].append(layer)
        else:
            groups.append((key, [layer]))
    return [_merge(members) for _, members in groups]


def _merge(members: list[Layer]) -> Layer:
    first, last = members[0].name, members[-1].name
    weighted = [layer for layer in members if layer.multiply_adds]
    kind = (weighted or members)[0].kind if len(weighted) < 2 else f"{len(weighted)} layers with weights"
    output = next(layer.output for layer in reversed(members) if layer.output[1:] != (1, 1) or layer is members[0])
    sums = {key: sum(getattr(layer, key) for layer in members) for key in ("parameters", "multiply_adds", "memory")}
    return Layer(first if first == last else f"{first} to {last}", kind, output, **sums)
