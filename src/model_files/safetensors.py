"""safetensors files: weights and strings by name, nothing that could run; this project builds the network."""

import json
from pathlib import Path

from src.errors import InputError, require, require_packages
from src.inference.model import InferenceModel
from src.model_files.build import rebuild_model
from src.model_files.locate import read_model_file
from src.model_files.metadata import EMPTY_DIGEST, embed_digest, make_metadata, read_metadata

MAX_HEADER_BYTES = 4 << 20  # ours have some thousand


def safetensors_bytes(net: InferenceModel) -> bytes:
    """The content of a safetensors file: the weights of `net.model`, which takes normalised images, and its metadata.

    Raises InputError if the extra's package is missing.
    """
    require_packages("export", "safetensors")
    from safetensors.torch import save

    weights = {key: value.detach().cpu().contiguous().clone() for key, value in net.model.state_dict().items()}
    return embed_digest(save(weights, make_metadata(net).to_strings() | EMPTY_DIGEST))


def read_safetensors(path: Path | str) -> InferenceModel:
    """The network of a safetensors file of this project, computed by torch.

    Raises InputError for a file that is damaged, foreign or too large, a network that a file may not name, or weights
    that do not fit it.
    """
    require_packages("export", "safetensors")
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = read_model_file(path)
    header_bytes = int.from_bytes(content[:8], "little")
    valid = len(content) > 8 and 2 <= header_bytes <= min(MAX_HEADER_BYTES, len(content) - 8)
    require(valid, f"{path} ({len(content):,} bytes) is damaged or no safetensors file")
    try:
        strings = json.loads(content[8 : 8 + header_bytes]).get("__metadata__", {})
        weights = load(content)
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError, SafetensorError) as error:
        raise InputError(f"{path} is damaged or no safetensors file ({type(error).__name__})") from None
    return rebuild_model(read_metadata(strings, path, content), lambda expected: weights, content, path)
