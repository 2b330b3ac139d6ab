"""Summaries agree with hand counts and torchvision's documentation; every model has a diagram."""

import pytest

from src.cli.config import CONF, instantiate, load_config
from src.insight.architecture import MAX_BLOCKS, architecture_figure, diagram_blocks
from src.insight.summary import abbreviate, format_shape, summarize, summary_table
from src.models.lenet import LeNet
from src.models.pretrained import Pretrained
from tests.insight.striped_patches import SHAPE


def test_lenet_agrees_with_a_count_by_hand():
    summary = summarize(LeNet(SHAPE, 10), SHAPE)
    conv1, conv2 = 28 * 28 * 6 * 25, 10 * 10 * 16 * 6 * 25
    linear = 400 * 120 + 120 * 84 + 84 * 10
    assert summary.multiply_adds == conv1 + conv2 + linear == 416_520
    assert summary.parameters == 61_706
    shapes = {la.name: format_shape(la.output) for la in summary.layers}
    assert shapes["features.0"] == "6 @ 28x28"
    assert shapes["features.5"] == "16 @ 5x5"
    assert shapes["flatten"] == "400"
    memory = {la.name: la.memory for la in summary.layers}
    assert memory["features.0"] == 6 * 28 * 28 * 4
    assert memory["flatten"] == 0  # a view of its input
    text = summary_table(summary)
    assert "61,706" in text
    assert "416,520" in text


@pytest.mark.parametrize(
    ("name", "giga"),
    [("resnet18", 1.814), ("mobilenet_v3_small", 0.057), ("swin_t", 4.491)],
)
def test_multiply_adds_agree_with_torchvision(name, giga):
    """The documentation of the weights, for 224x224 RGB and 1,000 classes."""
    net = Pretrained((3, 28, 28), 1000, name=name, weights=None)
    summary = summarize(net, (3, 28, 28))
    assert summary.multiply_adds / 1e9 == pytest.approx(giga, abs=6e-4)
    assert summary.parameters == sum(p.numel() for p in net.parameters())


def model_options() -> list[str]:
    return sorted(path.stem for path in (CONF / "model").glob("*.yaml"))


@pytest.mark.parametrize("name", model_options())
@pytest.mark.parametrize("shape", [SHAPE, (3, 32, 32)])
def test_every_model_has_a_summary_and_a_diagram(name, shape, tmp_path):
    cfg = load_config(
        [f"model={name}", *(["model.size=64", "model.weights=null"] if name == "pretrained" else [])], "explain"
    )
    net = instantiate(cfg.model, "model", shape=shape, num_classes=7)
    modes = [module.training for module in net.modules()]
    summary = summarize(net, shape)
    assert summary.parameters == sum(p.numel() for p in net.parameters())
    assert summary.layers[-1].output == (7,)
    assert summary.multiply_adds > 0
    assert [module.training for module in net.modules()] == modes
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    blocks = diagram_blocks(summary)
    assert len(blocks) <= MAX_BLOCKS
    assert blocks[0].layer.output == shape
    assert blocks[-1].layer.output == (7,)
    assert sum(block.layer.multiply_adds for block in blocks) == summary.multiply_adds
    assert sum(block.layer.parameters for block in blocks) == summary.parameters
    architecture_figure(summary).savefig(tmp_path / "diagram.png")
    assert (tmp_path / "diagram.png").stat().st_size > 5_000


def test_large_numbers_are_abbreviated():
    assert [abbreviate(n) for n in (0, 840, 10_080, 416_520, 999_600, 1.814e9)] == [
        "0", "840", "10.1 k", "417 k", "1.00 M", "1.81 G",
    ]  # fmt: skip
