"""A sweep on disk."""

import pytest

from tests.run_folders import make_run


@pytest.fixture
def sweep(tmp_path):
    """Two configurations with two seeds each, a failed run and a pruned one."""
    for number, (lr, seed, best) in enumerate(
        [("1e-3", 0, 0.90), ("1e-3", 1, 0.92), ("3e-3", 0, 0.97), ("3e-3", 1, 0.95)]
    ):
        make_run(tmp_path, number, [f"optimizer.lr={lr}", f"seed={seed}"], best, test={"acc": best - 0.01})
    make_run(tmp_path, 4, ["optimizer.lr=1", "seed=0"], state="failed")
    make_run(tmp_path, 5, ["optimizer.lr=0.01", "seed=0"], 0.99, pruned=True)
    return tmp_path
