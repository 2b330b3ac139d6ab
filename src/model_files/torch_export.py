"""torch.export's archives (.pt2): a graph for other programs, and weights that this project reads back.

The graph runs where torch.export.load, AOTInductor or a C++ runner reads it. Commands of this project never run it:
torch.export.load (2.14) unpickles sample inputs and custom objects without limits and hands expressions to
sympy.sympify, which evaluates them, so that a foreign file could run any code. They read metadata and raw weights from
the archive and build the network themselves, as they do for safetensors.
"""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from src.errors import InputError
from src.inference.model import InferenceModel
from src.model_files.build import rebuild_model
from src.model_files.checkpoint import check_archive_digest, embed_archive_digest
from src.model_files.locate import read_model_file
from src.model_files.metadata import make_metadata, read_metadata
from src.model_files.tracing import trace_model

EXTRA_PREFIX, WEIGHTS_PREFIX = "extra/", "data/weights/"  # in the archive
MODEL_PREFIX = "net.model."  # in the names of weights
NODE_NOTES = ("stack_trace", "torch_fn", "source_fn_stack", "from_node")  # where on this machine a node came from


def torch_export_bytes(net: InferenceModel) -> bytes:
    """A .pt2 archive: a graph from uint8 (B, C, H, W) to (predictions, logits), for any B; metadata as extra files.

    Nothing in it is pickled. Raises InputError if the network cannot be exported.
    """
    program = trace_model(net)
    program.example_inputs = None  # they would be pickled
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            for name in NODE_NOTES:
                node.meta.pop(name, None)
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files=make_metadata(net).to_strings())
    return embed_archive_digest(buffer.getbuffer())


def exported_graph(content: bytes) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """The graph in what `torch_export_bytes` has just returned, as a function; never of a file's bytes: see above."""
    return torch.export.load(io.BytesIO(content)).module()


def read_torch_export(path: Path | str) -> InferenceModel:
    """The network of a .pt2 file of this project, built from its metadata and weights; its graph does not run.

    Raises InputError for a file that is damaged, foreign or too large, a network that a file may not name, or weights
    that do not fit it.
    """
    content = read_model_file(path)
    check_archive_digest(content, path)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            root = archive.namelist()[0].partition("/")[0] + "/"
            entries = {entry.filename.removeprefix(root): entry for entry in archive.infolist()}
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
                raise ValueError("its entries are compressed")
            names = [name for name in entries if name.startswith(EXTRA_PREFIX)]
            strings = {name.removeprefix(EXTRA_PREFIX): archive.read(entries[name]).decode() for name in names}
            metadata = read_metadata(strings, path)
            index = json.loads(archive.read(entries[WEIGHTS_PREFIX + "model_weights_config.json"]))["config"]

            def read(expected: dict[str, Tensor]) -> dict[str, Tensor]:
                weights = {}
                for name, value in expected.items():
                    stored = index.get(MODEL_PREFIX + name)
                    entry = stored and entries[WEIGHTS_PREFIX + stored["path_name"]]
                    if entry and entry.file_size == value.nbytes:
                        weights[name] = _tensor(archive.read(entry), stored["tensor_meta"], value)
                stored_names = {key.removeprefix(MODEL_PREFIX) for key in index if key.startswith(MODEL_PREFIX)}
                return weights | dict.fromkeys(stored_names - expected.keys(), torch.empty(0))

            return rebuild_model(metadata, read, content, path)
    except InputError:
        raise
    except (zipfile.BadZipFile, KeyError, IndexError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} is no archive that this project wrote ({type(error).__name__})") from None


def _tensor(raw: bytes, meta: dict, expected: Tensor) -> Tensor:
    """A weight from its bytes in the archive, which are as many as it has.

    Raises ValueError for another shape: a stride of 0 would make any number of values of a few.
    """
    sizes, strides = ([axis["as_int"] for axis in meta[name]] for name in ("sizes", "strides"))
    if tuple(sizes) != expected.shape:
        raise ValueError("a weight of another shape")
    value = torch.frombuffer(bytearray(raw), dtype=expected.dtype)
    return value.as_strided(sizes, strides, meta["storage_offset"]["as_int"]).clone()
