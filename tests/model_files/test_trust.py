"""A file names classes of the project, and of packages that the user trusts by name; of no others."""

import pytest
import torch

from src.data.info import DataInfo
from src.errors import InputError
from src.model_files.checkpoint import load_model, write_checkpoint
from src.model_files.load import load_predictor
from src.model_files.trust import VARIABLE, check_recorded, find_object, is_trusted, trusted
from tests.own_package import write_package

INFO = DataInfo((3, 8, 8), ("a", "b"), (0.1,) * 3, (0.2,) * 3)


@pytest.fixture
def package(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(write_package(tmp_path, "trustedpackage")))
    monkeypatch.delenv(VARIABLE, raising=False)
    return "trustedpackage"


def write_own(path, package: str, target: str = "nets.Net", **knobs):
    """A checkpoint that names a class of `package`."""
    net = find_object(f"{package}.nets.Net", "here")(INFO.shape, 2)
    config = {"model": {"_target_": f"{package}.{target}", **knobs}, "data": {"name": "folder"}}
    weights = {f"model.{key}": value for key, value in net.state_dict().items()}
    write_checkpoint({"state_dict": weights, "config": config, "facts": INFO.to_dict(), "epoch": 0}, path)
    return path


def test_a_trusted_package_is_matched_by_whole_names():
    with trusted("tests"):
        assert is_trusted("tests.own_package.X")
        assert not is_trusted("tests2.X") and not is_trusted("tests")
    with trusted(["tests.own_package"]):
        assert is_trusted("tests.own_package.X")
        assert not is_trusted("tests.commands.run") and not is_trusted("tests.own_package2.X")
    assert not is_trusted("tests.own_package.X")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("os", "belongs to Python itself"),
        (["builtins"], "belongs to Python itself"),
        (["subprocess"], "belongs to Python itself"),
        ("torch", "is a library"),
        (["numpy.random"], "is a library"),
        ("src", "is a library"),
        ("./mypackage", "and no path"),
        ("/tmp/x.py", "and no path"),
        ("", "and no path"),
        ("nowhere_at_all", "there is no package of this name"),
        (3, "a list of packages"),
        ([3], "a list of packages"),
        ({"a": 1}, "a list of packages"),
    ],
)
def test_what_cannot_be_trusted_is_refused(value, reason):
    with pytest.raises(InputError, match=reason) as caught, trusted(value):
        pass
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_an_own_network_needs_trust(package, tmp_path, monkeypatch):
    path = write_own(tmp_path / "own.ckpt", package)
    with pytest.raises(InputError, match=rf"asks for {package}\.nets\.Net.*trust=\[{package}\].*{VARIABLE}"):
        load_model(path)
    with trusted([package]):
        net = load_model(path)  # though its constructor computes values, which the meta device has none of
    assert net(torch.zeros(2, 3, 8, 8)).shape == (2, 2)
    monkeypatch.setenv(VARIABLE, f"other, {package}")
    assert load_predictor(path).info == INFO
    monkeypatch.setenv(VARIABLE, "os")
    with pytest.raises(InputError, match=f"{VARIABLE}=os in the environment"):
        load_model(path)


@pytest.mark.parametrize(
    ("target", "knobs", "reason"),
    [
        ("nets.NoNetwork", {}, "is no Module"),
        ("nets.make_net", {}, "is no Module"),
        ("nets.Nothing", {}, "has no Nothing"),
        ("broken.X", {}, "ZeroDivisionError"),
        ("needs.X", {}, "it needs nowhere"),
        ("missing.X", {}, "no module trustedpackage.missing"),
        ("nets.torch.nn.Linear", {}, "no module"),
        ("nets.Net", {"nonsense": 1}, "nonsense"),
        ("nets.Net", {"width": 5}, "do not fit the network"),
        ("nets.Net", {"width": "x"}, "cannot be built"),
    ],
)
def test_trust_lets_a_file_name_networks_only(package, tmp_path, target, knobs, reason):
    path = write_own(tmp_path / "own.ckpt", package, target, **knobs)
    with trusted(package), pytest.raises(InputError, match=reason) as caught:
        load_model(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize("target", ["os.system", "torch.nn.Linear", "torch.load", "trustedpackage2.X"])
def test_trust_in_one_package_is_none_in_another(package, tmp_path, target):
    path = tmp_path / "evil.ckpt"
    config = {"model": {"_target_": target}, "data": {}}
    write_checkpoint({"state_dict": {}, "config": config, "facts": INFO.to_dict(), "epoch": 0}, path)
    with trusted(package), pytest.raises(InputError, match=f"asks for {target}"):
        load_model(path)


@pytest.mark.parametrize(
    "target",
    [
        "torch.load", "torch.hub.load", "src.files.write_bytes", "src.training.checkpoints.read_checkpoint",
        "torch.optim.lr_scheduler.math.sqrt", "src.training.build.Path", "lightning.pytorch.trainer.trainer.os.system",
        "builtins.open", "trustedpackage.parts.Loss", "src.training.schedules.partial",
    ],
)  # fmt: skip
def test_a_recorded_command_names_no_other_code(package, target):
    with pytest.raises(InputError, match=r"asks for|no module"):
        check_recorded({"callbacks": {"x": [{"deep": {"_target_": target}}]}}, "resume_from=x")


def test_a_recorded_command_names_the_usual_classes(package):
    targets = ("torch.optim.AdamW", "src.training.schedules.onecycle", "torch.optim.lr_scheduler.StepLR")
    targets += ("lightning.pytorch.Trainer", "torchmetrics.classification.MulticlassAUROC", "src.data.augment.Shift")
    check_recorded({"a": [{"_target_": target} for target in targets], "b": {"_target_": None}}, "here")
    with trusted(package):
        check_recorded({"_target_": f"{package}.parts.Loss"}, "here")
