"""Test-time augmentation."""

import pytest
import torch

from src.inference.tta import average_views, tta_views
from src.model_files.checkpoint import load_model, write_checkpoint
from src.models.lenet import LeNet


def test_a_loaded_model_averages_its_five_views(small_kmnist, tmp_path):
    torch.manual_seed(0)
    weights = {f"model.{name}": value for name, value in LeNet((1, 28, 28), 10).state_dict().items()}
    config = {"model": {"_target_": "src.models.lenet.LeNet"}, "data": {}}
    content = {"state_dict": weights, "config": config, "facts": small_kmnist.info.to_dict(), "epoch": 0}
    write_checkpoint(content, tmp_path / "one.ckpt")
    write_checkpoint({**content, "config": {**config, "views": 5}}, tmp_path / "five.ckpt")
    plain, five = load_model(tmp_path / "one.ckpt"), load_model(tmp_path / "five.ckpt")
    images = small_kmnist.val_set[torch.arange(20)][0]
    with torch.inference_mode():
        each = plain(tta_views(images)).softmax(1).view(5, 20, 10)
        averaged = five(images)
        assert torch.allclose(each[0], plain(images).softmax(1), atol=1e-6)
        geometric = each.log().mean(0).exp()
        assert torch.allclose(averaged.softmax(1), geometric / geometric.sum(1, keepdim=True), atol=1e-5)
        assert torch.allclose(averaged, torch.cat([five(image.unsqueeze(0)) for image in images]), atol=1e-4)


def test_views_rotate_and_scale_about_the_centre():
    dot, bar = torch.zeros(2, 1, 29, 29)
    dot[0, 14, 14] = 200
    bar[0, 14, 8:21] = 200
    views = tta_views(torch.stack([dot, bar]).to(torch.uint8)).view(5, 2, 29, 29)
    assert torch.equal(views[0], torch.cat([dot, bar]))
    assert all(some[0].argmax() == 14 * 29 + 14 for some in views), "the middle stays"
    ends = [some[1, :, 20].clamp(min=1).log().argmax().item() for some in views]
    assert ends[1] == ends[2] != 14 != ends[3] == ends[4], "two turned one way, two the other"
    assert {ends[1] - 14, ends[3] - 14} == {-1, 1}
    ink = [some[1].sum().item() / views[0][1].sum().item() for some in views]
    assert ink == pytest.approx([1, 0.94**2, 1.06**2, 0.94**2, 1.06**2], abs=0.03)
    alike = torch.randn(4, 3).log_softmax(1)
    assert torch.allclose(average_views(alike.repeat(5, 1)), alike, atol=1e-6)
