"""Checkpoints: damage is noticed, nothing in them runs, and a failed write leaves the old file."""

import io
import pickle
from pathlib import Path

import pytest
import torch

from src.errors import InputError
from src.model_files.checkpoint import load_model, read_checkpoint, write_checkpoint


def test_any_flipped_byte_is_noticed(checkpoint, tmp_path):
    content = checkpoint.read_bytes()
    generator = torch.Generator().manual_seed(0)
    places = torch.randint(len(content), (60,), generator=generator).tolist()
    for place in [0, 3, len(content) - 1, len(content) - 70, len(content) - 74, *places]:
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        (tmp_path / "x.ckpt").write_bytes(damaged)
        with pytest.raises(InputError, match="damaged"):
            read_checkpoint(tmp_path / "x.ckpt")


def pickled() -> bytes:
    return pickle.dumps({"state_dict": {}})


def zipped(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("content", [b"", b"text", pickled(), zipped({"state_dict": {}})])
def test_foreign_files_are_refused_in_one_line(tmp_path, content):
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(InputError, match=r"^\S*x\.ckpt") as error:
        read_checkpoint(tmp_path / "x.ckpt")
    assert "\n" not in str(error.value)


def test_truncated_missing_and_remote_files_are_refused(checkpoint, tmp_path):
    content = checkpoint.read_bytes()
    (tmp_path / "x.ckpt").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="damaged"):
        read_checkpoint(tmp_path / "x.ckpt")
    with pytest.raises(InputError, match="cannot be read"):
        read_checkpoint(tmp_path / "nowhere.ckpt")
    with pytest.raises(InputError, match="URLs"):
        read_checkpoint("https://example.org/x.ckpt")


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("pwned"),))


def test_code_in_a_checkpoint_is_not_run(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = torch.load(checkpoint, weights_only=True)
    write_checkpoint({**content, "extra": Evil()}, tmp_path / "x.ckpt")
    with pytest.raises(InputError, match="more than tensors"):
        read_checkpoint(tmp_path / "x.ckpt")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("os.system", "only networks"),
        ("src.data.sources.download.fetch", "only networks"),
        ("src.models.layers.make_pooling", "cannot be built"),
        ("src.models.nothing.Net", "cannot be built"),
    ],
)
def test_a_checkpoint_never_chooses_what_runs(checkpoint, tmp_path, target, message):
    content = torch.load(checkpoint, weights_only=True)
    content["config"]["model"]["_target_"] = target
    write_checkpoint(content, tmp_path / "x.ckpt")
    with pytest.raises(InputError, match=message):
        load_model(tmp_path / "x.ckpt")


def test_a_failed_write_keeps_the_old_checkpoint(checkpoint, tmp_path):
    path = tmp_path / "x.ckpt"
    path.write_bytes(checkpoint.read_bytes())
    before = path.read_bytes()
    with pytest.raises(Exception, match="pickle"):
        write_checkpoint({"a": lambda: None}, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
