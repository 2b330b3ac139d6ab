"""What is measured before and after compression, and what the table says of it."""

import math

import pytest
import torch

from src.compression.candidates import select_candidate
from src.compression.latency import Timings, interleave
from src.compression.measure import count_weights_and_operations, mcnemar_test, measure_accuracy, slim_checkpoint_bytes
from src.compression.table import compression_table, remarks
from src.model_files.checkpoint import load_model
from src.models.lenet import LeNet
from src.training.checkpoints import Checkpoints
from tests.tuning import tune

SHAPE = (1, 28, 28)


def test_the_mcnemar_test_pairs_errors_by_image():
    labels = torch.zeros(100, dtype=torch.long)
    before, after = labels.clone(), labels.clone()
    before[:8] = 1
    after[6:20] = 1
    found = mcnemar_test(before, after, labels)
    assert (found["new_errors"], found["gone_errors"]) == (12, 6)
    chance = 2 * sum(math.comb(18, k) for k in range(7)) / 2**18
    assert found["p"] == pytest.approx(chance)
    assert mcnemar_test(before, before, labels)["p"] == 1
    assert measure_accuracy(after, labels)["errors"] == 14


def test_nonzero_weights_and_multiply_adds_of_all_views_are_counted():
    model = LeNet(SHAPE, 10)
    model.head[0].weight.data[:60] = 0

    class Net:
        views, info = 5, type("Info", (), {"shape": SHAPE})

    net = Net()
    net.model = model
    assert count_weights_and_operations(net) == {
        "parameters": 61_706,
        "nonzero": 61_706 - 24_000,
        "multiply_adds": 5 * 416_520,
    }


def test_runners_take_turns_and_ratios_are_of_the_same_turn():
    order = []
    runners = {name: (lambda name=name: order.append(name)) for name in "ab"}
    found = interleave(runners, turns=4, calls=2)
    assert "".join(order[10:]) == "aabb" + "bbaa" + "aabb" + "bbaa"
    assert all(len(timing.turns) == 4 and len(timing.turns[0]) == 2 for timing in found.values())
    slow, quick = Timings([[2.0, 2.0], [20.0, 20.0]]), Timings([[1.0, 1.0], [10.0, 10.0]])
    assert quick.times_faster_than(slow) == (2.0, 2.0, 2.0)
    assert slow.quantile(0.5) == 11.0


def row(name: str, faster: tuple | None = None, **changes) -> dict:
    speed = {"p50_s": 1e-4, "p99_s": 2e-4, "images_per_s": 1000.0}
    speed |= {"faster_1": faster, "faster_256": faster} if faster else {}
    base = {
        "name": name, "acc": 0.99, "acc_ci95": [0.98, 0.995], "errors": 10, "images": 1000, "val_acc": 0.99,
        "parameters": 1000, "nonzero": 1000, "multiply_adds": 5000, "bytes": 4000, "packed_bytes": 3600,
        "onnx_bytes": None, "quantised": False, "speed": {"eager": speed},
    }  # fmt: skip
    after = {"new_errors": 5, "gone_errors": 2, "p": 0.45} if faster else {}
    return base | after | changes


def test_remarks_follow_from_the_numbers():
    before = row("before")
    text = "\n".join(remarks(before, row("a", (2.0, 1.9, 2.1), acc=0.987, bytes=1000)))
    assert "0.30 points lost" in text
    assert "one image: 2.00 times faster" in text
    assert "file: 25 % of what it was" in text
    assert "pay" not in text
    text = "\n".join(remarks(before, row("b", (1.0, 0.98, 1.02), nonzero=100, packed_bytes=900, acc=0.991)))
    assert "zeros: 90 %" in text
    assert "packed 25 %" in text
    assert "0.10 points gained" in text
    assert "256 images: no faster" in text
    assert "does not pay" in text
    assert "2.00 times slower" in "\n".join(remarks(before, row("c", (0.5, 0.4, 0.6))))
    assert "perhaps 1.20 times" in "\n".join(remarks(before, row("c", (1.2, 0.9, 1.4))))
    lines = compression_table([before, row("sparsity 0.9", (1.0, 0.9, 1.1))]).splitlines()
    assert len({len(line) for line in lines}) == 1, "columns stand below one another"
    assert "5 / 2, p 0.45" in lines[3]


def test_the_smallest_candidate_within_the_tolerance_is_selected():
    assert select_candidate([0.990, 0.991, 0.9895, 0.970], 0.001) == 2
    assert select_candidate([0.990, 0.970, 0.980, 0.960], 0.001) == 2
    assert select_candidate([0.99, 0.5], 0.0) == 1


def test_a_slim_checkpoint_is_small_and_computes_the_same(data, tmp_path):
    model, saved = LeNet(SHAPE, 10), Checkpoints(str(tmp_path))
    trainer = tune(model, None, data, tmp_path, callbacks=[saved])
    trainer.lightning_module.config = {"model": {"_target_": "src.models.lenet.LeNet"}, "data": {"name": "kmnist"}}
    trainer.save_checkpoint(tmp_path / "whole.ckpt")
    net = load_model(tmp_path / "whole.ckpt")
    (tmp_path / "plain.ckpt").write_bytes(slim_checkpoint_bytes(net))
    again, images = load_model(tmp_path / "plain.ckpt"), torch.randint(0, 256, (3, *SHAPE), dtype=torch.uint8)
    assert again(images).equal(net(images))
    assert (again.epoch, again.info, again.config) == (net.epoch, net.info, net.config)
    assert (tmp_path / "plain.ckpt").stat().st_size < (tmp_path / "whole.ckpt").stat().st_size / 2
