"""IDX files: parsed or refused; EMNIST."""

import numpy as np
import pytest
import torch

from src.data.sources.idx import load_emnist, parse_idx
from src.errors import InputError
from tests.small_data import idx_bytes, striped_digits


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 zip", bytes([0, 0, 8, 3, 0, 0]), idx_bytes(np.zeros((3, 2), np.uint8))[:-1]]
)
def test_parse_idx_rejects_invalid_content(content):
    with pytest.raises(InputError):
        parse_idx(content, "file")


def test_idx_round_trip_of_integers():
    values = np.array([[1, -2], [70_000, 4]], np.int32)
    assert parse_idx(idx_bytes(values), "file").tolist() == values.tolist()


def test_emnist_is_upright_and_letters_count_from_zero(data_root):
    source = load_emnist(root=str(data_root), download=False)
    expected, _ = striped_digits(400, 0, classes=47)
    assert torch.equal(source.train().images[:, 0], torch.from_numpy(expected))
    assert len(source.class_names) == 47
    with pytest.raises(InputError, match=r"data\.variant=capitals.*balanced"):
        load_emnist(root=str(data_root), variant="capitals")
