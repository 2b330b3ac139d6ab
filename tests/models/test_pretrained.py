"""Networks of torchvision: their input and head fitted to the data, their weights loaded."""

import pytest
import torch

from src.errors import InputError
from src.models.pretrained import Pretrained

SHAPE = (1, 28, 28)


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "densenet121", "shufflenet_v2_x0_5"]
)
def test_torchvision_networks_fit_grey_images_and_any_classes(name):
    assert Pretrained(SHAPE, 7, name=name, size=64)(torch.randn(2, *SHAPE)).shape == (2, 7)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["vit_b_32", "swin_t", "inception_v3", "googlenet", "convnext_tiny", "efficientnet_b0"]
)
def test_larger_torchvision_networks_run_at_their_default_size(name):
    assert Pretrained(SHAPE, 5, name=name).eval()(torch.randn(1, *SHAPE)).shape == (1, 5)


def test_a_grey_image_gives_the_logits_of_its_rgb_copy(tmp_path):
    from torchvision.models import resnet18

    source = resnet18(num_classes=1000).eval()
    torch.save(source.state_dict(), tmp_path / "weights.pt")
    model = Pretrained(SHAPE, 1000, name="resnet18", weights=str(tmp_path / "weights.pt"), size=64).eval()
    grey = torch.randn(2, 1, 64, 64)
    assert torch.allclose(model(grey), source(grey.expand(-1, 3, -1, -1)), atol=1e-4)


def test_another_number_of_classes_gets_a_fresh_head_and_the_old_backbone(tmp_path):
    from torchvision.models import resnet18

    source = resnet18(num_classes=1000)
    torch.save(source.state_dict(), tmp_path / "weights.pt")
    net = Pretrained((3, 28, 28), 10, name="resnet18", weights=str(tmp_path / "weights.pt"), size=64).net
    assert net.fc.out_features == 10
    theirs = source.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in net.state_dict().items() if not key.startswith("fc."))


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "weights.pt")
    with pytest.raises(InputError, match="do not fit"):
        Pretrained(SHAPE, 10, weights=str(tmp_path / "weights.pt"), size=64)
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(InputError, match="is not a file of weights"):
        Pretrained(SHAPE, 10, weights=str(tmp_path / "text.pt"), size=64)
