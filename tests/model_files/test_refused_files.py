"""Damaged, foreign and malicious model files are refused in one line."""

import io
import json
import logging
import pickle
import random
import zipfile
from pathlib import Path

import pytest
import torch

pytest.importorskip("onnxruntime", reason="the export extra is not installed")
pytest.importorskip("onnxscript", reason="the export extra is not installed")
pytest.importorskip("safetensors", reason="the export extra is not installed")

import onnx
from safetensors.torch import save

from src.errors import InputError
from src.model_files.checkpoint import embed_archive_digest, write_checkpoint
from src.model_files.load import load_predictor
from src.model_files.locate import read_model_file, sniff_suffix
from src.model_files.metadata import DIGEST_KEY, DIGEST_PLACEHOLDER, embed_digest, make_metadata
from tests.model_files.networks import DIGITS, WRITERS, random_batch, refusal_of


@pytest.mark.parametrize("suffix", WRITERS)
def test_no_damaged_file_is_loaded(files, tmp_path, suffix):
    content, draw = files[suffix].read_bytes(), random.Random(0)
    path = tmp_path / f"damaged{suffix}"
    places = [*range(0, 24), *(len(content) - n for n in range(1, 24))]
    places += [draw.randrange(len(content)) for _ in range(60)]
    for place in places:
        flipped = bytearray(content)
        flipped[place] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        refusal_of(path)
    for size in (0, 1, 7, 8, 9, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        refusal_of(path)
    path.write_bytes(content + b"\0")
    refusal_of(path)
    for other, file in files.items():
        if other != suffix:
            path.write_bytes(file.read_bytes())
            refusal_of(path)
    path.unlink()
    refusal_of(path)
    refusal_of(f"https://example.org/net{suffix}")


@pytest.mark.parametrize("suffix", [*WRITERS, ".ckpt"])
def test_a_file_with_a_wrong_suffix_is_identified(files, tmp_path, suffix):
    write_checkpoint({"state_dict": {}, "config": {}, "facts": {}}, tmp_path / "whole.ckpt")
    for kind, file in {**files, ".ckpt": tmp_path / "whole.ckpt"}.items():
        path = tmp_path / f"renamed{suffix}"
        path.write_bytes(file.read_bytes())
        assert sniff_suffix(file.read_bytes()) == kind
        if kind != suffix:
            with pytest.raises(InputError, match=rf"by its content: give it a name that ends in \{kind}$"):
                load_predictor(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="is empty: it has 0 bytes"):
        load_predictor(path)


def changed_strings(net, **values) -> dict[str, str]:
    return {**make_metadata(net).to_strings(), **{name: json.dumps(value) for name, value in values.items()}}


MALICIOUS_OPTIONS = [
    ("_target_", "os.system"),
    ("_target_", "torch.nn.Linear"),
    ("_target_", "src.models.layers.make_head"),
    ("_target_", "src.finetune.lora.LoRA"),
    ("_target_", None),
    ("activation", "exec"),
    ("padded", 7e300),
    ("nonsense", 1),
    ("hidden", [10**12]),
    ("hidden", [2**62, 2**62]),
]


@pytest.mark.parametrize(("key", "value"), MALICIOUS_OPTIONS)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt2"])
def test_a_file_never_chooses_what_code_runs(net, files, tmp_path, suffix, key, value):
    config = {**make_metadata(net).config, "model": {**net.config["model"], key: value}}
    write(tmp_path / f"evil{suffix}", files[suffix], changed_strings(net, config=config))
    refusal_of(tmp_path / f"evil{suffix}")


def write(path: Path, like: Path, strings: dict[str, str]) -> None:
    """Write the weights of the file `like` with other metadata and a valid digest."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load

        path.write_bytes(embed_digest(save(load(like.read_bytes()), {**strings, DIGEST_KEY: DIGEST_PLACEHOLDER})))
    else:
        path.write_bytes(rezip(like.read_bytes(), {f"archive/extra/{name}": text for name, text in strings.items()}))


def rezip(content: bytes, parts: dict[str, str | bytes], kind: int = zipfile.ZIP_STORED) -> bytes:
    """An archive with some entries replaced and a valid digest."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w", kind) as new:
        for name in dict.fromkeys([*old.namelist(), *parts]):
            new.writestr(name, parts.get(name, old.read(name) if name in old.namelist() else b""))
    return embed_archive_digest(buffer.getbuffer())


INVALID_METADATA = [
    {"facts": None},
    {"facts": {**DIGITS.to_dict(), "shape": [1, 28]}},
    {"facts": {**DIGITS.to_dict(), "shape": [1, 28, 10**9]}},
    {"facts": {**DIGITS.to_dict(), "std": [0.0]}},
    {"facts": {**DIGITS.to_dict(), "mean": ["0"]}},
    {"facts": {**DIGITS.to_dict(), "class_names": [1, 2]}},
    {"facts": {**DIGITS.to_dict(), "class_names": ["0", "1"]}},
    {"facts": {**DIGITS.to_dict(), "more": 1}},
    {"temperature": 0},
    {"temperature": float("nan")},
    {"views": 3},
    {"views": [1]},
    {"epoch": "one"},
    {"config": []},
    {"config": {"model": {}, "data": {}}},
    {"format": "another"},
]


@pytest.mark.parametrize("values", INVALID_METADATA, ids=str)
@pytest.mark.parametrize("suffix", [".safetensors", ".onnx"])
def test_invalid_metadata_are_refused(net, files, tmp_path, suffix, values):
    path = tmp_path / f"broken{suffix}"
    strings = changed_strings(net, **values)
    if suffix == ".safetensors":
        write(path, files[suffix], strings)
    else:
        model = onnx.load(files[suffix])
        del model.metadata_props[:]
        for name, text in {**strings, DIGEST_KEY: DIGEST_PLACEHOLDER}.items():
            model.metadata_props.add(key=name, value=text)
        path.write_bytes(embed_digest(model.SerializeToString()))
        if values == {"config": {"model": {}, "data": {}}}:  # ONNX Runtime needs no network of ours
            load_predictor(path)
            return
    refusal_of(path)


def test_weights_that_do_not_fit_are_refused(net, files, tmp_path):
    weights = {key: value.clone() for key, value in net.model.state_dict().items()}
    strings = {**make_metadata(net).to_strings(), DIGEST_KEY: DIGEST_PLACEHOLDER}
    first = next(iter(weights))
    for wrong in (
        {key: value for key, value in weights.items() if key != first},
        {**weights, "more": torch.zeros(1)},
        {**weights, first: weights[first][:1].clone()},
        {**weights, first: weights[first].double()},
    ):
        path = tmp_path / "wrong.safetensors"
        path.write_bytes(embed_digest(save(wrong, strings)))
        assert "do not fit" in refusal_of(path)
    index = "archive/data/weights/model_weights_config.json"
    good = json.loads(zipfile.ZipFile(files[".pt2"]).read(index))["config"]
    name = next(iter(good))
    repeated = {**good[name]["tensor_meta"], "sizes": [{"as_int": 6_000}] * 4, "strides": [{"as_int": 0}] * 4}
    for change in (
        {"tensor_meta": repeated},
        {"path_name": "../../../etc/passwd"},
        {"path_name": "weight_1"},
        {"tensor_meta": {**good[name]["tensor_meta"], "strides": [{"as_int": 10**9}] * 4}},
        {"tensor_meta": {**good[name]["tensor_meta"], "sizes": [{"as_int": 10**6}] * 4}},
        {"tensor_meta": None},
    ):
        text = json.dumps({"config": {**good, name: {**good[name], **change}}})
        path = tmp_path / "wrong.pt2"
        path.write_bytes(rezip(files[".pt2"].read_bytes(), {index: text}))
        refusal_of(path)
    path.write_bytes(rezip(files[".pt2"].read_bytes(), {}, zipfile.ZIP_DEFLATED))
    refusal_of(path)


class Touch:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.filterwarnings("ignore")
def test_a_pickle_in_an_archive_is_never_loaded(net, files, tmp_path, monkeypatch):
    """torch.export.load of torch 2.14 would load it: src.model_files.torch_export does without that function."""
    mark = tmp_path / "it ran"
    buffer = io.BytesIO()
    torch.save((Touch(mark),), buffer)
    evil = rezip(files[".pt2"].read_bytes(), {"archive/data/sample_inputs/model.pt": buffer.getvalue()})
    (tmp_path / "evil.pt2").write_bytes(evil)
    back = load_predictor(tmp_path / "evil.pt2")
    batch = random_batch(2)
    with torch.inference_mode():
        assert torch.equal(back(batch), net(batch))
    assert not mark.exists()
    # Its own message about it has a mistake, which pytest would raise.
    monkeypatch.setattr(logging.getLogger("torch._export.serde.serialize"), "disabled", True)
    torch.export.load(io.BytesIO(evil))
    assert mark.exists()
    (tmp_path / "plain.pt2").write_bytes(pickle.dumps({"state_dict": 1}))
    refusal_of(tmp_path / "plain.pt2")


def test_foreign_files_are_refused(tmp_path):
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    path = tmp_path / "foreign.onnx"
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", value[:1], value[1:])), path)
    assert "was not exported by this project" in refusal_of(path)
    path = tmp_path / "foreign.safetensors"
    path.write_bytes(save({"x": torch.zeros(2)}))
    assert "was not exported by this project" in refusal_of(path)
    path.write_bytes((1 << 60).to_bytes(8, "little") + b"{}")
    refusal_of(path)


def test_large_files_are_not_read(files):
    with pytest.raises(InputError, match="bytes: files of up to"):
        read_model_file(files[".onnx"], max_bytes=1000)
