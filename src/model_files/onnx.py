"""ONNX files: one file with the weights and all metadata in it, checked before ONNX Runtime sees it."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from src.errors import InputError, choice, require, require_packages
from src.inference.model import InferenceModel
from src.model_files.metadata import EMPTY_DIGEST, Metadata, embed_digest, make_metadata, read_metadata
from src.model_files.onnx_limits import excess
from src.model_files.onnxruntime import OnnxNet
from src.model_files.tracing import INPUT, export_error, output_names, trace_model

if TYPE_CHECKING:
    from onnx import ModelProto

OPSETS = range(18, 23)  # that torch writes and the tests have tried


def onnx_bytes(net: InferenceModel, opset: int | None = None) -> bytes:
    """The content of an ONNX file: a graph from uint8 (B, C, H, W) to `output_names`, for any B, and its metadata.

    opset: one of OPSETS; None takes torch's own choice. Raises InputError if the network cannot be exported, or a
    package of the extra is missing.
    """
    require_packages("export", "onnx", "onnxscript")
    choice("opset", opset, OPSETS, optional=True)
    program = trace_model(net)
    try:
        with _quiet_exporter():
            exported = torch.onnx.export(
                program,
                dynamo=True,
                external_data=False,
                opset_version=opset,
                verbose=False,
                input_names=[INPUT],
                output_names=output_names(net.info),
            )
    except Exception as error:  # exporters of different versions raise different kinds for an unknown operator
        raise export_error(error) from error
    assert exported is not None  # it is None only with dynamo=False
    return serialize_onnx(exported.model_proto, make_metadata(net))


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    levels = {logger: logger.level for logger in map(logging.getLogger, ("torch.onnx", "onnxscript", "onnx_ir"))}
    try:
        for logger in levels:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


def serialize_onnx(model: "ModelProto", metadata: Metadata) -> bytes:
    """The content of a file of `model` with this metadata, without what tools noted in it (stack traces, paths)."""
    graph = model.graph
    for proto in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        for name in ("metadata_props", "doc_string"):
            if name in proto.DESCRIPTOR.fields_by_name:
                proto.ClearField(name)
    for name, value in (metadata.to_strings() | EMPTY_DIGEST).items():
        model.metadata_props.add(key=name, value=value)
    return embed_digest(model.SerializeToString())


def parse_onnx(content: bytes, path: Path | str, threads: int | None = None) -> OnnxNet:
    """The network of the bytes of an ONNX file of this project, computed by ONNX Runtime.

    path: for errors and as the network's file. threads: of ONNX Runtime; None takes as many as torch. Only standard
    operators run, and no other file is read. Raises InputError for a file that is damaged, foreign, or asks for more.
    """
    require_packages("export", "onnx", "onnxruntime")
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(content)
    except (DecodeError, ValueError, RecursionError):
        raise InputError(f"{path} ({len(content):,} bytes) is damaged or no ONNX file") from None
    metadata = read_metadata({entry.key: entry.value for entry in model.metadata_props}, path, content)
    problem = _unsupported(model, metadata)
    require(not problem, f"{path} is refused: {problem}; python -m src.export writes files without it")
    return OnnxNet(content, metadata, path, threads)


def _unsupported(model: "ModelProto", metadata: Metadata) -> str:
    """What a file has that ours never have; empty if nothing."""
    from onnx import AttributeProto, TensorProto

    graph = model.graph
    if model.functions or model.training_info:
        return "it brings functions of its own"
    for entry in (*model.opset_import, *graph.node):
        if entry.domain not in ("", "ai.onnx"):
            return f"it needs operators of {entry.domain}"
    tensors = [*graph.initializer]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) or attribute.ref_attr_name:
                return f"{node.op_type} holds a graph of its own"
            tensors += [attribute.t, *attribute.tensors]
    if any(tensor.data_location == TensorProto.EXTERNAL or tensor.external_data for tensor in tensors):
        return "its weights are in another file"
    if graph.sparse_initializer:
        return "its weights are sparse"
    if [entry.name for entry in graph.input] != [INPUT]:
        return f"it does not take one input, {INPUT}"
    tensor_type = graph.input[0].type.tensor_type
    shape = tuple(side.dim_value for side in tensor_type.shape.dim)  # 0 stands for any number
    if tensor_type.elem_type != TensorProto.UINT8 or shape != (0, *metadata.info.shape):
        return f"it does not take grey levels of {'x'.join(map(str, metadata.info.shape))}, in any number"
    if [entry.name for entry in graph.output] != output_names(metadata.info):
        return f"its outputs are not {' and '.join(output_names(metadata.info))}"
    return excess(model)
