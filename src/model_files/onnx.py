"""ONNX files: one file with the weights and all metadata in it, checked before ONNX Runtime sees it."""

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from src.errors import InputError, require, require_packages
from src.inference.model import InferenceModel
from src.model_files.metadata import (
    OPEN,
    SEAL,
    Metadata,
    check_digest,
    embed_digest,
    make_metadata,
    read_metadata,
    read_model_file,
)
from src.model_files.onnxruntime import OnnxNet
from src.model_files.tracing import INPUT, export_error, output_names, trace_model

OPSETS = range(18, 23)  # that torch writes and the tests have tried
DOMAINS = ("", "ai.onnx")


def onnx_bytes(net: InferenceModel, opset: int | None = None, **notes) -> bytes:
    """The network as an ONNX file: uint8 (B, C, H, W) to `output_names`, for any B; its card in the metadata.

    opset: of OPSETS; None takes torch's own choice. notes: for the card. Raises InputError if it cannot be exported, or
    a package of the extra is missing.
    """
    require_packages("export", "onnx", "onnxscript")
    require(opset is None or opset in OPSETS, f"opset={opset}: {OPSETS[0]} to {OPSETS[-1]}, or null")
    program = trace_model(net)
    talk = logging.getLogger("torch.onnx"), logging.getLogger("onnxscript"), logging.getLogger("onnx_ir")
    before = [log.level for log in talk]
    try:
        for log in talk:
            log.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter about itself
            names = {"input_names": [INPUT], "output_names": output_names(net.info)}
            done = torch.onnx.export(
                program, dynamo=True, external_data=False, opset_version=opset, verbose=False, **names
            )
    except Exception as error:  # whatever the exporter of this version raises for an operator it does not know
        raise export_error(error) from error
    finally:
        for log, level in zip(talk, before, strict=True):
            log.setLevel(level)
    return serialize_onnx(done.model_proto, make_metadata(net, **notes))


def serialize_onnx(model, card: Metadata) -> bytes:
    """A file of an onnx.ModelProto with this card; what tools have noted in it (stack traces, places of files) goes."""
    _forget(model)
    for name, text in {**card.texts(), SEAL: OPEN}.items():
        model.metadata_props.add(key=name, value=text)
    return embed_digest(model.SerializeToString())


def read_onnx(path: Path | str, threads: int | None = None) -> OnnxNet:
    """The network of an ONNX file of this project, computed by ONNX Runtime.

    threads: of it; None takes as many as torch. Nothing but standard operators runs, and no other file is read. Raises
    InputError for a file that is damaged, foreign, too large, or asks for more.
    """
    require_packages("export", "onnx", "onnxruntime")
    content = read_model_file(path)
    return parse_onnx(content, path, threads)


def parse_onnx(content: bytes, path: Path | str, threads: int | None = None) -> OnnxNet:
    """As `read_onnx`, of the bytes of a file; path: for errors and as where it came from."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(content)
    except (DecodeError, ValueError, RecursionError):
        raise InputError(f"ckpt={path} ({len(content):,} bytes) is damaged or no ONNX file") from None
    texts = {entry.key: entry.value for entry in model.metadata_props}
    card = read_metadata(texts, path)
    check_digest(content, texts.get(SEAL), path)
    problem = _problem(model, card)
    require(not problem, f"ckpt={path} is refused: {problem}; python -m src.export writes files without it")
    return OnnxNet(content, card, path, threads)


def _problem(model, card: Metadata) -> str:
    """What a file asks for that ours never do; nothing if it is plain."""
    from onnx import AttributeProto, TensorProto

    if model.functions or model.training_info:
        return "it brings functions of its own"
    strange = [entry.domain for entry in model.opset_import if entry.domain not in DOMAINS]
    strange += [node.domain for node in model.graph.node if node.domain not in DOMAINS]
    if strange:
        return f"it needs operators of {strange[0]}"
    tensors = [*model.graph.initializer]
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) or attribute.ref_attr_name:
                return f"{node.op_type} holds a graph of its own"
            tensors += [attribute.t, *attribute.tensors]
    if any(tensor.data_location == TensorProto.EXTERNAL or tensor.external_data for tensor in tensors):
        return "its weights are in another file"
    if model.graph.sparse_initializer:
        return "its weights are sparse"
    shape = [entry for entry in model.graph.input if entry.name == INPUT]
    if len(model.graph.input) != 1 or not shape:
        return f"it does not take one input, {INPUT}"
    kind = shape[0].type.tensor_type
    sides = tuple(side.dim_value for side in kind.shape.dim)
    if kind.elem_type != TensorProto.UINT8 or sides != (0, *card.info.shape):
        return f"it does not take grey levels of {'x'.join(map(str, card.info.shape))}, in any number"
    if [entry.name for entry in model.graph.output] != output_names(card.info):
        return f"its outputs are not {' and '.join(output_names(card.info))}"
    return ""


def _forget(model) -> None:
    """Drop every note and doc_string of a model and its parts."""
    for part in _parts(model):
        for name in ("metadata_props", "doc_string"):
            if name in part.DESCRIPTOR.fields_by_name:
                part.ClearField(name)


def _parts(model) -> Iterator:
    graph = model.graph
    yield from (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info)
