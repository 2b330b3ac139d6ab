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


@pytest.mark.parametrize("size", [20, 21, 23])
def test_two_processes_together_see_the_batches_of_one(size):
    """Each step has the images of one process with the double batch; an odd end is filled up from the beginning."""
    alone = torch.cat(list(SeededBatchSampler(size, 8, seed=3)))
    parts = [list(SeededBatchSampler(size, 4, seed=3, rank=rank, world=2)) for rank in range(2)]
    assert [len(part) for part in parts] == [len(parts[0])] * 2
    steps = [set(torch.cat(step).tolist()) for step in zip(*parts, strict=True)]
    assert steps[0] == set(alone[:8].tolist()) and steps[1] == set(alone[8:16].tolist())
    seen = torch.cat([torch.cat(part) for part in parts])
    assert set(seen.tolist()) == set(range(size))
    assert len(seen) == size + size % 2


def test_derived_seeds_differ():
    assert len({derive_seed(a, b) for a in range(50) for b in range(50)}) == 2500


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("batch_size", [2, 4, 10])
@pytest.mark.parametrize("size", range(1, 45))
def test_no_batch_has_one_image_unless_a_process_has_no_other(size, batch_size, world):
    """Batch norm has no variance of a single value; no image is left out, and a resumed order is the same."""
    samplers = [SeededBatchSampler(size, batch_size, 0, rank=rank, world=world) for rank in range(world)]
    shares = [list(sampler) for sampler in samplers]
    counts = [[len(batch) for batch in share] for share in shares]
    assert all(count == counts[0] for count in counts)
    assert len(counts[0]) == len(samplers[0])
    assert (min(counts[0]) == 1) == samplers[0].has_single_image
    assert min(counts[0]) > 1 or counts[0] == [1]
    assert max(counts[0]) <= batch_size + 1
    assert {int(row) for share in shares for batch in share for row in batch} == set(range(size))
    resumed = list(SeededBatchSampler(size, batch_size, 0, start=len(counts[0]) - 1, world=world))
    assert [batch.tolist() for batch in resumed] == [shares[0][-1].tolist()]
