"""torch.export's archives (.pt2): a graph for other programs, and weights that this project reads back.

The graph runs where torch.export.load, AOTInductor or a C++ runner reads it. Commands of this project never run it:
torch.export.load (2.14) unpickles sample inputs and custom objects without limits and hands expressions to
sympy.sympify, which evaluates them, so that a file from elsewhere could run anything. They take card and raw weights
from the archive and build the network themselves, as they do for safetensors.
"""

import io
import json
import zipfile
from pathlib import Path

import torch

from src.errors import InputError
from src.inference.model import InferenceModel
from src.model_files.checkpoint import check_archive_digest, embed_archive_digest, rebuild_model
from src.model_files.metadata import attach_metadata, make_metadata, read_metadata, read_model_file
from src.model_files.tracing import trace_model

EXTRA, WEIGHTS, OWN = "extra/", "data/weights/", "net.model."
INDEX = "model_weights_config.json"
NOTES = ("stack_trace", "torch_fn", "source_fn_stack", "from_node")  # where on this machine a node came from


def torch_export_bytes(net: InferenceModel, **notes) -> bytes:
    """The network as an archive of torch.export: uint8 (B, C, H, W) to (probabilities, logits), for any B; the card in
    its extra files, one per name.

    Nothing in it is pickled. notes: for the card. Raises InputError if it cannot be exported.
    """
    program = trace_model(net)
    program._example_inputs = None  # they would be pickled
    for part in program.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, torch.fx.GraphModule) else ():
            for name in NOTES:
                node.meta.pop(name, None)
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files=make_metadata(net, **notes).texts())
    return embed_archive_digest(buffer.getbuffer())


def exported_graph(content: bytes):
    """The graph of bytes that `torch_export_bytes` has just given, as a function of images; of no other bytes: see above."""
    module = torch.export.load(io.BytesIO(content)).module()
    return lambda images: module(images)


def read_torch_export(path: Path | str) -> InferenceModel:
    """The network of a .pt2 file of this project, from its card and weights; its graph is not run.

    Raises InputError for a file that is damaged, foreign or too large, a network from outside `src.models`, or weights
    that do not fit it.
    """
    content = read_model_file(path)
    check_archive_digest(content, path)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            root = archive.namelist()[0].partition("/")[0] + "/"
            stored = {entry.filename.removeprefix(root): entry for entry in archive.infolist()}
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in stored.values()):
                raise ValueError("its parts are compressed")
            names = [name for name in stored if name.startswith(EXTRA)]
            texts = {name.removeprefix(EXTRA): archive.read(stored[name]).decode() for name in names}
            card = read_metadata(texts, path)
            index = json.loads(archive.read(stored[WEIGHTS + INDEX]))["config"]

            def read(wanted: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
                weights = {}
                for name in [key.removeprefix(OWN) for key in index if key.startswith(OWN)]:
                    part = index[OWN + name]
                    raw = archive.read(stored[WEIGHTS + part["path_name"]])
                    weights[name] = _tensor(raw, part["tensor_meta"], wanted.get(name))
                return weights

            net = rebuild_model(card.config, card.info, read, path)
    except InputError:
        raise
    except (zipfile.BadZipFile, KeyError, IndexError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise InputError(f"ckpt={path} is no archive that this project wrote ({type(error).__name__})") from None
    attach_metadata(net, card, content, path)
    return net


def _tensor(raw: bytes, meta: dict, wanted: torch.Tensor | None) -> torch.Tensor:
    """A weight as it lies in the archive, if it is of the shape that the network has; else an empty one."""
    if wanted is None or len(raw) != wanted.nbytes:
        return torch.empty(0)
    sizes = [axis["as_int"] for axis in meta["sizes"]]
    strides = [axis["as_int"] for axis in meta["strides"]]
    value = torch.frombuffer(bytearray(raw), dtype=wanted.dtype)
    return value.as_strided(sizes, strides, meta["storage_offset"]["as_int"]).clone()
