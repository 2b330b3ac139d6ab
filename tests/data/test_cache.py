"""The cache of splits within one process."""

import torch

from src.data import cache
from src.data.source import Split


def test_a_split_is_read_once_while_the_cache_is_enabled():
    calls = []

    def read():
        calls.append(1)
        return Split(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))

    cache.cached("some data", "train", read)
    assert len(calls) == 1
    with cache.cache_enabled():
        first = cache.cached("some data", "train", read)
    cache.cached("some data", "train", read)  # outside, nothing is cached
    with cache.cache_enabled():
        assert cache.cached("some data", "train", read) is first
        cache.cached("other data", "train", read)
    assert len(calls) == 4
