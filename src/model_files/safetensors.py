"""safetensors files: weights by name and texts, nothing that could run; the network is built by this project."""

import json
from pathlib import Path

import torch

from src.errors import InputError, require, require_packages
from src.inference.model import InferenceModel
from src.model_files.checkpoint import rebuild_model
from src.model_files.metadata import (
    OPEN,
    SEAL,
    attach_metadata,
    check_digest,
    embed_digest,
    make_metadata,
    read_metadata,
    read_model_file,
)

HEADER = 4 << 20  # bytes; ours are some thousand


def safetensors_bytes(net: InferenceModel, **notes) -> bytes:
    """The network as a safetensors file: the weights of `net.model`, which reads normalised images, and its card.

    notes: for the card. Raises InputError if the extra's package is missing.
    """
    require_packages("export", "safetensors")
    from safetensors.torch import save

    weights = {key: value.detach().cpu().contiguous().clone() for key, value in net.model.state_dict().items()}
    return embed_digest(save(weights, {**make_metadata(net, **notes).texts(), SEAL: OPEN}))


def read_safetensors(path: Path | str) -> InferenceModel:
    """The network of a safetensors file of this project, computed by torch.

    Raises InputError for a file that is damaged, foreign or too large, a network from outside `src.models`, or weights
    that do not fit it.
    """
    require_packages("export", "safetensors")
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = read_model_file(path)
    size = int.from_bytes(content[:8], "little")
    good = len(content) > 8 and 2 <= size <= min(HEADER, len(content) - 8)
    require(good, f"ckpt={path} ({len(content):,} bytes) is damaged or no safetensors file")
    try:
        header = json.loads(content[8 : 8 + size])
        texts = header.get("__metadata__", {})
        weights = load(content)
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError, SafetensorError) as error:
        raise InputError(f"ckpt={path} is damaged or no safetensors file ({type(error).__name__})") from None
    card = read_metadata(texts, path)
    check_digest(content, texts.get(SEAL), path)

    def read(wanted: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return weights

    net = rebuild_model(card.config, card.info, read, path)
    attach_metadata(net, card, content, path)
    return net
