"""A trained network as one traced program: raw grey levels in, probabilities and logits out."""

import torch
from torch import Tensor, nn

from src.errors import InputError
from src.inference.model import InferenceModel

INPUT = "images"


class TracedModel(nn.Module):
    """uint8 (B, C, H, W) to probabilities (B, K), the temperature in them, and raw logits (B, K).

    A network that estimates a number gives it in its unit, (B, 1), and the same over `info.scale`.
    """

    def __init__(self, net: InferenceModel):
        super().__init__()
        self.net, self.temperature = net, net.temperature or 1.0
        self.scale = net.info.scale if net.info.target else None

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.net(images)
        if self.scale is not None:
            return logits * self.scale, logits
        return (logits / self.temperature).softmax(1), logits


def output_names(info) -> list[str]:
    """What the two outputs are called."""
    return ["value" if info.target else "probabilities", "logits"]


def trace_model(net: InferenceModel) -> torch.export.ExportedProgram:
    """The network as torch.export's program, for any number of images.

    Raises InputError if torch cannot trace it, or only for one number of images.
    """
    # Two images: torch takes a size of 1 for a constant.
    images = torch.zeros(2, *net.info.shape, dtype=torch.uint8)
    batch = {"images": {0: torch.export.Dim("batch")}}
    try:
        with torch.no_grad():
            return torch.export.export(TracedModel(net).eval(), (images,), dynamic_shapes=batch)
    except Exception as error:  # whatever the tracer of this version raises for what it cannot follow
        raise export_error(error) from error


def export_error(error: Exception) -> InputError:
    """What to say of a network that cannot be exported."""
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return InputError(f"this network cannot be exported ({reason}): format=safetensors takes every network")
