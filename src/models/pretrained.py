"""Any classification network of torchvision, its first convolution and head fitted to the data."""

import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.errors import InputError, integer, require


class Pretrained(nn.Module):
    """A torchvision network by name, on images resized to `size`.

    name: one of `torchvision.models.list_models(module=torchvision.models)`.
    weights: None (random), DEFAULT or another name of torchvision's weights (downloaded), or a file with a state_dict.
    For one channel the kernels of the first convolution are summed over their three inputs, so that a grey image gives
    the logits of its RGB copy. The head starts afresh if the number of classes differs.
    size: side that images are resized to, pixels, at least 32; None is the side the network was trained at.
    Raises InputError for an unknown name or weights, or a file that does not fit the network.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        num_classes: int,
        name: str = "resnet18",
        weights: str | None = None,
        size: int | None = None,
    ):
        from torchvision import models

        names = models.list_models(module=models)
        if name not in names:
            similar = [n for n in names if name and n.startswith(name[:4])]
            raise InputError(
                f"model.name={name} is no classification network of torchvision: one of {', '.join(similar or names)}"
            )
        integer("model.size", size, 32, optional=True, unit="pixels")
        super().__init__()
        # Their auxiliary heads are for training at ImageNet's scale.
        auxiliary = name in ("googlenet", "inception_v3")
        options = {"init_weights": True, "aux_logits": False} if auxiliary else {}
        self.net = models.get_model(name, weights=None, num_classes=num_classes, **options)
        self.size = size or models.get_model_weights(name).DEFAULT.transforms().crop_size[0]  # downloads nothing
        self._adapt_input(shape[0])
        if weights is not None:
            self._load_weights(_read_weights(name, weights))

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


def _read_weights(name: str, weights: str) -> dict[str, Tensor]:
    from torchvision.models import get_model_weights

    path = Path(weights).expanduser()
    if path.is_file():
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for a file it cannot read
            raise InputError(f"model.weights={path} is not a file of weights ({type(error).__name__})") from None
        require(
            isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values()),
            f"model.weights={path} holds no state_dict: a map of names to tensors",
        )
        return dict(state)
    known = get_model_weights(name)
    if weights not in known.__members__:
        raise InputError(
            f"model.weights={weights} is no file and no weights of {name}: a file, null, {', '.join(known.__members__)}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return dict(known[weights].get_state_dict(progress=True, check_hash=True))
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"model.weights={weights}: the download for {name} failed ({error}); give a file of weights, or null"
        ) from None
