"""Checkpoints of adapters: only the changes of a source model are saved."""

import copy

import pytest
import torch

from src.cli.config import load_config
from src.errors import InputError
from src.model_files.checkpoint import load_model, read_checkpoint, write_checkpoint
from src.models.lenet import LeNet
from src.training.checkpoints import Checkpoints
from tests.conf_options import SHAPE, make_method
from tests.tuning import tune


@pytest.fixture
def source_file(data, tmp_path):
    """A small trained LeNet's checkpoint."""
    model = LeNet(SHAPE, 10)
    config = {"model": {"_target_": "src.models.lenet.LeNet"}, "data": {}}
    trainer = tune(model, None, data, tmp_path, callbacks=[Checkpoints(str(tmp_path / "source"))])
    trainer.lightning_module.config = config
    trainer.save_checkpoint(tmp_path / "source.ckpt")
    return tmp_path / "source.ckpt"


@pytest.mark.filterwarnings("ignore:.*eval mode at the start")
@pytest.mark.parametrize("option", ["lora", "dora", "adapter", "prompt", "head", "bias"])
def test_an_adapter_checkpoint_is_small_and_fits_only_its_base(option, source_file, data, tmp_path):
    source, method = load_model(source_file), make_method(option)
    images = data.val_set[torch.arange(20)][0].float()
    model = method.adapt(copy.deepcopy(source.model), SHAPE)
    structure = [dict(load_config([f"finetune={option}"]).finetune)] if method.adds_modules else []
    trainer = tune(model, method, data, tmp_path, base={"file": source.file, "sha256": source.digest})
    trainer.lightning_module.config = {**source.config, "structure": structure}
    path = tmp_path / "changes.ckpt"
    trainer.save_checkpoint(path, weights_only=True)
    assert path.stat().st_size < source_file.stat().st_size / 4
    net = load_model(path)
    with torch.no_grad():
        expected = model.eval()(data.normalize(images))
        assert torch.allclose(net(images), expected, atol=1e-5)
        assert not net.complete
        if method.mergeable or not method.adds_modules:
            assert set(net.model.state_dict()) == set(LeNet(SHAPE, 10).state_dict())
    other = read_checkpoint(source_file)
    other["state_dict"]["model.head.4.bias"] += 1
    other.pop("digest")
    write_checkpoint(other, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match="changes of another network"):
        load_model(path, tmp_path / "other.ckpt")
    source_file.rename(tmp_path / "moved.ckpt")
    with pytest.raises(InputError, match=r"base=\.\.\."):
        load_model(path)
    assert torch.allclose(load_model(path, tmp_path / "moved.ckpt")(images), expected, atol=1e-5)


def test_a_checkpoint_names_only_methods_of_this_project(source_file, tmp_path):
    content = read_checkpoint(source_file)
    content["config"]["structure"] = [{"_target_": "subprocess.Popen", "args": "ls"}]
    content.pop("digest")
    write_checkpoint(content, tmp_path / "bad.ckpt")
    with pytest.raises(InputError, match=r"asks for subprocess\.Popen"):
        load_model(tmp_path / "bad.ckpt")
