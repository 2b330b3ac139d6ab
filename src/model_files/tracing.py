"""A trained network as one traced program: raw grey levels in, predictions and logits out."""

import torch
from torch import Tensor, nn

from src.data.info import DataInfo
from src.errors import InputError
from src.inference.model import InferenceModel

INPUT = "images"


class TracedModel(nn.Module):
    """uint8 (B, C, H, W) to (predictions, logits): probabilities (B, K), or a regression target's value (B, 1)."""

    def __init__(self, net: InferenceModel):
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.net(images)
        return self.net.info.output.predictions(logits, self.net.temperature), logits


def output_names(info: DataInfo) -> list[str]:
    """The names of the two outputs of an exported graph."""
    return [info.output.output_name, "logits"]


def trace_model(net: InferenceModel) -> torch.export.ExportedProgram:
    """The network as a program of torch.export, for any number of images.

    Raises InputError if torch cannot trace it, or only for one number of images.
    """
    images = torch.zeros(2, *net.info.shape, dtype=torch.uint8)  # torch takes a size of 1 for a constant
    batch = {INPUT: {0: torch.export.Dim("batch")}}
    try:
        with torch.no_grad():
            return torch.export.export(TracedModel(net).eval(), (images,), dynamic_shapes=batch)
    except Exception as error:  # tracers of different versions raise different kinds
        raise export_error(error) from error


def export_error(error: Exception) -> InputError:
    """The error of a network that cannot be exported, in one line."""
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return InputError(f"this network cannot be exported ({reason}): format=safetensors takes every network")
