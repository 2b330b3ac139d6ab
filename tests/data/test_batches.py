"""The order of batches: a function of seed and epoch, shared by processes."""

import pytest
import torch

from src.data.batches import SeededBatchSampler, derive_seed


def test_the_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        batches = SeededBatchSampler(103, 10, seed)
        batches.set_epoch(epoch)
        return torch.cat(list(batches)).tolist()

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1) != order(1, 1)
    assert sorted(order(3, 2)) == list(range(103))


def test_a_resumed_order_skips_the_finished_batches_once():
    whole = list(SeededBatchSampler(103, 10, 0))
    order = SeededBatchSampler(103, 10, 0, start=4)
    assert torch.equal(torch.cat(list(order)), torch.cat(whole[4:]))
    assert len(list(order)) == len(order) == len(whole) == 11


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_all_images_evenly(world):
    parts = [torch.cat(list(SeededBatchSampler(101, 10, 0, rank=rank, world=world))).tolist() for rank in range(world)]
    assert len({len(part) for part in parts}) == 1
    assert {row for part in parts for row in part} == set(range(101))
    assert sum(map(len, parts)) - 101 < world


def test_derived_seeds_differ():
    assert len({derive_seed(a, b) for a in range(50) for b in range(50)}) == 2500
