"""Atomic writes."""

import pytest

from src.files import write_bytes


def test_write_bytes_leaves_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "file"
    write_bytes(path, b"old")
    with pytest.raises(TypeError):
        write_bytes(path, "no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
