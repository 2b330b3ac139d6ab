"""Networks of torchvision: their input and head fitted to the data, their weights loaded."""

import hashlib
import io

import pytest
import torch
from torchvision import models

from src.cli.config import load_config
from src.errors import InputError
from src.model_files.checkpoint import read_checkpoint
from src.models.pretrained import Pretrained, prepare
from src.training.build import build
from src.training.fit import fit, summary
from tests.commands import one_line, run
from tests.data.conftest import file_server  # noqa: F401

SHAPE = (1, 28, 28)


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "densenet121", "shufflenet_v2_x0_5"]
)
def test_torchvision_networks_fit_grey_images_and_any_classes(name):
    assert Pretrained(SHAPE, 7, name=name, weights=None, size=64)(torch.randn(2, *SHAPE)).shape == (2, 7)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["vit_b_32", "swin_t", "inception_v3", "googlenet", "convnext_tiny", "efficientnet_b0"]
)
def test_larger_torchvision_networks_run_at_their_default_size(name):
    assert Pretrained(SHAPE, 5, name=name, weights=None).eval()(torch.randn(1, *SHAPE)).shape == (1, 5)


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


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of torch.hub."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def published(file_server, monkeypatch):  # noqa: F811
    """resnet18 and its weights, with the digest in their name, on an HTTP server: (network, file name, requests)."""
    folder, address, requests = file_server
    net, content = models.resnet18().eval(), io.BytesIO()
    torch.save(net.state_dict(), content)
    name = f"resnet18-{hashlib.sha256(content.getvalue()).hexdigest()[:8]}.pth"
    (folder / name).write_bytes(content.getvalue())
    monkeypatch.setattr(models.ResNet18_Weights.IMAGENET1K_V1.value, "url", f"{address}/{name}")
    return net, name, requests


def test_published_weights_are_the_default_and_downloaded_once(cache, published):
    net, name, requests = published
    images = torch.randn(2, 3, 224, 224)
    ours = [Pretrained((3, 224, 224), 1000).eval() for _ in range(2)]
    assert requests == [f"/{name}"]
    assert (cache / name).is_file()
    assert all(torch.allclose(model(images), net(images), atol=1e-4) for model in ours)


def test_a_damaged_download_is_refused_and_leaves_no_file(cache, published, monkeypatch):
    _, name, _ = published
    url = models.ResNet18_Weights.IMAGENET1K_V1.url
    monkeypatch.setattr(models.ResNet18_Weights.IMAGENET1K_V1.value, "url", url.replace(name, f"broken/{name}"))
    with pytest.raises(InputError, match="invalid hash value"):
        prepare()
    assert not list(cache.glob("*.p*"))


def test_weights_that_cannot_be_had_are_an_error_that_says_which_file_belongs_where(cache, published, monkeypatch):
    monkeypatch.setattr(models.ResNet18_Weights.IMAGENET1K_V1.value, "url", "http://127.0.0.1:9/resnet18-0123abcd.pth")
    with pytest.raises(InputError, match=r"resnet18-0123abcd\.pth.*there.*<that file>.*model\.weights=null") as error:
        prepare()
    assert str(cache) in str(error.value) and "\n" not in str(error.value)
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "resnet18-0123abcd.pth").write_bytes(b"half")
    with pytest.raises(InputError, match=r"resnet18-0123abcd\.pth is not a file of weights, or is damaged"):
        Pretrained(SHAPE, 10)


@pytest.mark.parametrize("by_file", [False, True])
def test_raw_levels_give_the_logits_of_torchvisions_own_preset(cache, published, by_file, picture_folder, tmp_path):
    """From the data module's normalization to the logits, by name or by the published file."""
    net, name, _ = published
    prepare()
    weights = cache / name if by_file else "IMAGENET1K_V1"
    root = [f"data.root={picture_folder}", f"output_dir={tmp_path}", "run_name=test", "trainer.accelerator=cpu"]
    cfg = load_config(["data=folder", "data.size=224", "data.channels=3", "model=pretrained", *root])
    cfg.model.weights = str(weights)
    session = build(cfg)
    assert ("IMAGENET1K_V1" if not by_file else name) in summary(session)
    images = session.data.train_set[torch.arange(2)][0]
    preset = models.ResNet18_Weights.IMAGENET1K_V1.transforms(crop_size=224, resize_size=224)
    features = torch.nn.Sequential(*list(net.children())[:-1])
    ours = torch.nn.Sequential(*list(session.initial.model.eval().net.children())[:-1])
    assert torch.allclose(ours(session.data.normalize(images)), features(preset(images)), atol=1e-3)


def test_a_resumed_run_needs_no_file_of_weights(cache, published, picture_folder, tmp_path, monkeypatch):
    """It ends with the weights of a run that was not interrupted; only a decay towards the start asks for the file."""
    data = ["data=folder", f"data.root={picture_folder}", "data.size=32", "data.batch_size=8", "data.channels=3"]
    quick = ["run_name=test", "logger=none", "trainer.accelerator=cpu", "trainer.limit_train_batches=2"]
    words = [*data, *quick, "model=pretrained", "model.size=32", "scheduler=constant"]

    def session(name: str, epochs: int, *more: str):
        return build(load_config([*words, f"trainer.max_epochs={epochs}", *more], output_dir=tmp_path / name))

    for name, epochs, more in (("whole", 2, []), ("part", 1, []), ("l2sp", 1, ["finetune=l2sp"])):
        fit(session(name, epochs, *more))
    (cache / published[1]).unlink()
    monkeypatch.setattr(models.ResNet18_Weights.IMAGENET1K_V1.value, "url", "http://127.0.0.1:9/resnet18-0123abcd.pth")
    resumed = session("part", 2, f"resume_from={tmp_path}/part")
    assert "weights: " in summary(resumed) and "part/checkpoints/last.ckpt" in summary(resumed)
    fit(resumed)
    whole, part = (read_checkpoint(tmp_path / name / "checkpoints/last.ckpt") for name in ("whole", "part"))
    assert all(torch.equal(value, part["state_dict"][key]) for key, value in whole["state_dict"].items())
    assert part["facts"] == whole["facts"] and part["config"]["model"] == whole["config"]["model"]
    tuned = session("tuned", 1, f"init_from={tmp_path}/part", "experiment=finetune")  # the source brings its weights
    assert tuned.config["model"]["weights"] == "DEFAULT"
    with pytest.raises(InputError, match=r"resnet18-0123abcd\.pth"):
        session("l2sp", 2, "finetune=l2sp", f"resume_from={tmp_path}/l2sp")
    with pytest.raises(InputError, match=r"whose model\.size is 32, not 64"):
        session("part", 3, "model.size=64", f"resume_from={tmp_path}/part")


@pytest.mark.parametrize(
    ("name", "size", "weights", "message"),
    [
        ("alexnet", 32, None, "takes images of 63 or more"),
        ("inception_v3", 64, None, "takes images of 75 or more"),
        ("convnext_tiny", 31, None, "at least 32"),
        ("maxvit_t", 64, None, "takes images of 224 only"),
        ("vit_b_16", 64, "DEFAULT", "takes images of 224 only"),
        ("vit_b_16", 65, None, "multiples of 16"),
    ],
)
def test_a_size_that_a_network_cannot_take_is_refused_before_data_and_weights(name, size, weights, message, cache):
    with pytest.raises(InputError, match=rf"model\.size={size}.*{message}"):
        prepare(name, weights, size)


@pytest.mark.slow
@pytest.mark.parametrize("name", models.list_models(module=models))
def test_every_network_of_torchvision_takes_its_sizes_and_refuses_smaller_ones(name):
    prepare(name, None, models.get_model_weights(name).DEFAULT.transforms().crop_size[0])
    try:
        prepare(name, None, 32)
    except InputError as error:
        assert "takes multiples of" in str(error) or "takes images of" in str(error)
        least = str(error).rpartition("such as ")[2] if "multiples" in str(error) else str(error).split("images of ")[1]
        least = least.split()[0]
        prepare(name, None, int(least))
        assert int(least) > 32


@pytest.mark.slow
def test_training_without_weights_stops_before_the_data_are_read(tmp_path):
    env = {"TORCH_HOME": str(tmp_path), "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    run_dir = f"hydra.run.dir={tmp_path / 'run'}"
    done = run("src.train", "data=folder", "data.root=nowhere", "model=pretrained", run_dir, env=env)
    assert "resnet18-f37072fd.pth" in one_line(done)
