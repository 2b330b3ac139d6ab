"""Sealed checkpoints that lie: refused in one line, before memory or time is taken."""

import io
import pickle
import resource
import time
import zipfile
from pathlib import Path

import pytest
import torch

from src.data.info import DataInfo
from src.errors import InputError
from src.model_files.checkpoint import (
    embed_archive_digest,
    load_model,
    read_checkpoint,
    write_checkpoint,
    write_temperature,
)
from src.models.mlp import MLP

SHAPE = (1, 8, 8)
INFO = DataInfo(SHAPE, ("a", "b"), (0.1,), (0.3,))
MODEL = {"_target_": "src.models.mlp.MLP", "hidden": [7]}


def honest() -> dict:
    model = MLP(SHAPE, 2, hidden=(7,))
    return {
        "state_dict": {f"model.{name}": value for name, value in model.state_dict().items()},
        "config": {"model": MODEL, "data": {"name": "folder"}, "structure": []},
        "facts": INFO.to_dict(),
        "epoch": 3,
        "temperature": 1.5,
    }


def changed(**entries) -> dict:
    return {**honest(), **entries}


def config(**entries) -> dict:
    return {"config": {**honest()["config"], **entries}}


def facts(**entries) -> dict:
    return {"facts": {**INFO.to_dict(), **entries}}


def weights(value: torch.Tensor) -> dict:
    return {"state_dict": {**honest()["state_dict"], next(iter(honest()["state_dict"])): value}}


FIRST = next(iter(honest()["state_dict"].values()))
SEEN = {
    "a number": 5, "empty": {}, "no val": {"train": torch.tensor([1])}, "numbers": {"train": 1, "val": 2},
    "floats": {"train": FIRST, "val": FIRST}, "more": dict.fromkeys(("train", "val", "x"), torch.tensor([1])),
}  # fmt: skip
LIES = {
    **{f"{key}={value!r}"[:40]: {key: value} for key in honest() for value in (None, 5, "text", [1], {1: 2})
       if not (key == "temperature" and value in (None, 5)) and not (key == "epoch" and value == 5)},
    **{f"seen: {name}": {"seen": value} for name, value in SEEN.items()},
    **{f"temperature={value}": {"temperature": value} for value in (0, -1, float("nan"), float("inf"), True)},
    **{f"epoch={value}": {"epoch": value} for value in (-2, 1.5, True, 10**40)},
    **{f"views={value}": config(views=value) for value in (7, 10**6, True, "5", None, [1])},
    **{f"{key}={value!r}"[:40]: facts(**{key: value}) for key, value in (
        ("std", [0]), ("std", [-1.0]), ("std", [float("nan")]), ("mean", []), ("mean", ["x"]), ("class_names", [1, 2]),
        ("class_names", []), ("class_names", "ab"), ("class_names", ["x" * 5000, "b"]), ("shape", [1, 8]),
        ("shape", [1, 40_000, 40_000]), ("shape", [10**9, 8, 8]), ("shape", [True, 8, 8]), ("target", 5), ("scale", 0),
        ("more", 1), ("class_names", [str(n) for n in range(200_000)]),
    )},
    "methods": config(structure=[{"_target_": "src.finetune.lora.LoRA", "rank": 1}] * 2000),
    "a method that is no mapping": config(structure=[5]),
    "no values": weights(torch.full_like(FIRST, float("nan"))),
    "infinite": weights(torch.full_like(FIRST, float("inf"))),
    "complex": weights(FIRST.to(torch.complex64)),
    "stride 0": weights(torch.zeros(1).expand(1 << 31)),
    "wide": config(model={**MODEL, "hidden": [5_000_000]}),
    "wide twice": config(model={**MODEL, "hidden": [60_000, 60_000]}),
    "deep": config(model={"_target_": "src.models.resnet.ResNet", "blocks": 10**9}),
    "many layers": config(model={**MODEL, "hidden": [1] * 50_000}),
    "base": {"base": 5},
    "base without digest": {"base": {"file": "x"}},
}  # fmt: skip


@pytest.fixture
def small_machine():
    """Whoever takes 3 GB more than is in use ends in a MemoryError, which no refusal is."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 3_000_000_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def refused(path) -> str:
    started = time.process_time()
    with pytest.raises(InputError) as error:
        load_model(path)
    assert time.process_time() - started < 10
    assert "\n" not in str(error.value) and str(error.value).startswith(str(path))
    return str(error.value)


def test_an_honest_file_is_loaded(tmp_path):
    write_checkpoint(honest(), tmp_path / "a.ckpt")
    net = load_model(tmp_path / "a.ckpt")
    assert (net.info, net.temperature, net.epoch) == (INFO, 1.5, 4)
    write_temperature(tmp_path / "a.ckpt", 2.0)
    assert load_model(tmp_path / "a.ckpt").temperature == 2.0


@pytest.mark.parametrize("lie", LIES)
def test_a_sealed_lie_is_refused(lie, tmp_path, small_machine):
    write_checkpoint(changed(**LIES[lie]), tmp_path / "a.ckpt")
    refused(tmp_path / "a.ckpt")


def test_a_base_is_whole(tmp_path):
    path = tmp_path / "a.ckpt"
    write_checkpoint(changed(base={"file": str(path), "sha256": "0" * 64}), path)
    assert "is itself an adapter" in refused_base(path)


def refused_base(path) -> str:
    with pytest.raises(InputError) as error:
        load_model(path)
    return str(error.value)


class Huge:
    def __reduce__(self):
        return bytearray, (8 << 30,)


def sealed(path, pickled: bytes, kind: int = zipfile.ZIP_STORED) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
    path.write_bytes(embed_archive_digest(buffer.getbuffer()))


@pytest.mark.parametrize(
    ("pickled", "kind", "message"),
    [
        (pickle.dumps({"state_dict": Huge()}, 2), zipfile.ZIP_STORED, "builtins bytearray|__builtin__ bytearray"),
        (b"\x80\x02" + b"(" * 50_000_000 + b".", zipfile.ZIP_DEFLATED, "is compressed"),
        (b"\x80\x02" + b"(" * 9_000_000 + b".", zipfile.ZIP_STORED, "its pickle has"),
        (b"\x80\x02" + b"(" * 5_000_000 + b".", zipfile.ZIP_STORED, "its pickle has over"),
        (b"\x80\x02nonsense", zipfile.ZIP_STORED, "is damaged"),
    ],
    ids=["bytearray", "deflated", "long", "many steps", "no pickle"],
)
def test_a_pickle_takes_no_memory_and_no_time(pickled, kind, message, tmp_path, small_machine):
    sealed(tmp_path / "a.ckpt", pickled, kind)
    started = time.process_time()
    with pytest.raises(InputError, match=message):
        read_checkpoint(tmp_path / "a.ckpt")
    assert time.process_time() - started < 10
