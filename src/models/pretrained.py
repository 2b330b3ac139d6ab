"""Any classification network of torchvision, its first convolution and head fitted to the data."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from src.errors import InputError, integer
from src.models.published_weights import find_weights, image_side, normalization, published_weights, read_weights

MIN_SIZE = 32


class Pretrained(nn.Module):
    """A torchvision network by name, on images resized to `size`.

    name: one of `torchvision.models.list_models(module=torchvision.models)`.
    weights: DEFAULT or another name of torchvision's weights (downloaded once), a file with a state_dict, or None
    (random). `normalization` holds the mean and std per channel that they expect, None for random weights.
    For one channel the kernels of the first convolution are summed over their three inputs, so that a grey image gives
    the logits of its RGB copy. The head starts afresh if the number of classes differs.
    size: side that images are resized to, pixels, at least 32; None is the side the network was trained at.
    Raises InputError for an unknown name or weights, a file that does not fit the network, and a size that the network
    cannot take.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        num_classes: int,
        name: str = "resnet18",
        weights: str | None = "DEFAULT",
        size: int | None = None,
    ):
        check_name(name)
        integer("model.size", size, MIN_SIZE, optional=True, unit="pixels")
        super().__init__()
        published = published_weights(name, weights)
        self.size = size or image_side(published)
        self.default_size = image_side(published_weights(name, None))
        _check_patches(name, weights, self.size, image_side(published))
        self.net = _build(name, num_classes, self.size)
        if size is not None:
            check_size(name, self.net, size, image_side(published))
        self._adapt_input(shape[0])
        self.normalization: tuple[tuple[float, ...], tuple[float, ...]] | None = None
        self.start = "from scratch"
        if weights is not None:
            self._load_weights(read_weights(name, weights))
            self.normalization = normalization(name, published, shape[0])
            self.start = f"weights: {published.name if weights in type(published).__members__ else weights}"

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[-1] != self.size or images.shape[-2] != self.size:
            images = F.interpolate(images, (self.size, self.size), mode="bilinear", align_corners=False)
        return self.net(images)

    def _adapt_input(self, channels: int) -> None:
        name, first = next((n, m) for n, m in self.net.named_modules() if isinstance(m, nn.Conv2d))
        self.first_weight = f"{name}.weight"
        if channels == first.in_channels:
            return
        geometry = {key: getattr(first, key) for key in ("kernel_size", "stride", "padding", "dilation")}
        fitted = nn.Conv2d(channels, first.out_channels, **geometry, bias=first.bias is not None)
        self.net.set_submodule(name, fitted)

    def _load_weights(self, state: dict[str, Tensor]) -> None:
        own = self.net.state_dict()
        state = {key: value for key, value in state.items() if not key.startswith(("aux", "AuxLogits"))}
        kernel = state.get(self.first_weight)
        if kernel is not None and kernel.ndim == 4 and kernel.shape[1] == 3 and own[self.first_weight].shape[1] == 1:
            state[self.first_weight] = kernel.sum(1, keepdim=True)
        last = [key for key, value in own.items() if key.endswith("weight") and value.ndim >= 2][-1]
        head = {last, last.removesuffix("weight") + "bias"}
        if last in state and state[last].shape != own[last].shape:
            state = {key: value for key, value in state.items() if key not in head}
        else:
            head = set()
        missing = set(own) - set(state) - head
        wrong = [key for key in state if key not in own or state[key].shape != own[key].shape]
        if missing or wrong:
            raise InputError(
                f"model.weights do not fit this network: {len(missing)} entries are missing, {len(wrong)} are unknown "
                f"or have another shape (first: {sorted([*missing, *wrong])[0]})"
            )
        self.net.load_state_dict(state, strict=False)


def prepare(name: str = "resnet18", weights: str | None = "DEFAULT", size: int | None = None, **other) -> None:
    """Check the options of `Pretrained` and fetch its weights, before any data are read.

    Raises InputError for what `Pretrained` refuses of them.
    """
    check_name(name)
    if size is not None:
        _check_patches(name, weights, size, image_side(published_weights(name, weights)))
        try:
            with torch.device("meta"):
                Pretrained((3, MIN_SIZE, MIN_SIZE), 2, name, None, size)
        except NotImplementedError:  # RegNet computes its widths with tensors
            Pretrained((3, MIN_SIZE, MIN_SIZE), 2, name, None, size)
    if weights is not None:
        find_weights(name, weights)


def check_name(name: str) -> None:
    """Raise InputError for a name that is no classification network of torchvision."""
    from torchvision import models

    names = models.list_models(module=models)
    if name not in names:
        similar = [n for n in names if name and n.startswith(name[:4])]
        raise InputError(
            f"model.name={name} is no classification network of torchvision: one of {', '.join(similar or names)}"
        )


def check_size(name: str, net: nn.Module, size: int, trained: int) -> None:
    """Raise InputError, with the sizes that fit, if a torchvision network does not take images of side `size`.

    Tried without values, on the meta device. trained: the side the network was trained at.
    """

    def fits(side: int) -> bool:
        entries = {key: value.to("meta") for key, value in [*net.named_parameters(), *net.named_buffers()]}
        try:
            with torch.no_grad():
                functional_call(net, entries, (torch.empty(2, 3, side, side, device="meta"),))
        except (RuntimeError, ValueError, AssertionError):  # a map of no pixels, a side that windows do not divide
            return False
        return True

    if not fits(size):
        only = not fits(trained + 1)
        least = trained if only else _least(fits, MIN_SIZE, trained)
        sizes = f"{trained} only" if only else f"{least} or more"
        raise InputError(f"model.size={size}: {name} takes images of {sizes}; null takes {trained}")


def _least(fits: Callable[[int], bool], low: int, high: int) -> int:
    """The least side that fits, where every larger one does."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return low


def _check_patches(name: str, weights: str | None, size: int, trained: int) -> None:
    """A vision transformer is built for one size; its weights hold a position for each patch of that size."""
    if not name.startswith("vit_"):
        return
    patch = int(name[-2:])
    if weights is not None and size != trained:
        raise InputError(f"model.size={size}: {name} with weights takes images of {trained} only; leave model.size out")
    if size % patch:
        next_size = -(-size // patch) * patch
        raise InputError(f"model.size={size}: {name} takes multiples of {patch} pixels, such as {next_size}")


def _build(name: str, num_classes: int, size: int) -> nn.Module:
    from torchvision import models

    options: dict = {}
    if name in ("googlenet", "inception_v3"):  # their auxiliary heads are for training at ImageNet's scale
        options = {"init_weights": True, "aux_logits": False}
    elif name.startswith("vit_"):
        options = {"image_size": size}
    return models.get_model(name, weights=None, num_classes=num_classes, **options)
