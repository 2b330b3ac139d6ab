"""Heads and blocks of every network."""

import pytest

from src.models.structure import find_head, parameter_blocks
from tests.conf_options import MODELS, make_model


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_is_in_one_block_and_the_last_block_is_the_head(name):
    model = make_model(name)
    blocks = parameter_blocks(model)
    counted = [id(p) for _, parameters in blocks for p in parameters]
    assert sorted(counted) == sorted(id(p) for p in model.parameters())
    assert {id(p) for p in find_head(model)[1].parameters()} == {id(p) for p in blocks[-1][1]}
