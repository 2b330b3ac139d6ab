"""What data=feedback takes from the checkpoint of init_from."""

import pytest

from src.cli.config import load_config, to_plain
from src.cli.feedback_mix import add_mix, describe_mix
from src.cli.references import resolve_overrides
from src.model_files.checkpoint import read_checkpoint, write_checkpoint
from tests.configs import write_teacher

FOLDER = {
    "_target_": "src.data.datamodule.ImageData", "name": "folder", "root": "my {pictures}, ä", "download": False,
    "mirrors": None, "val": 0.15, "folds": None, "fold": None, "split_seed": 3, "batch_size": 32, "shots": 5,
    "classes": {"big": ["Käse alt", "a"], "small": ["b"]}, "ink": "none", "quarter_turns": 1, "size": 64, "channels": 3,
}  # fmt: skip
MIX = {
    "name": "folder", "root": "my {pictures}, ä", "ink": "none", "classes": FOLDER["classes"], "quarter_turns": 1,
    "options": {"size": 64, "channels": 3},
}  # fmt: skip
TUNED = {"name": "feedback", "root": "store", "val": 0.15, "split_seed": 3, "batch_size": 32, "mix": MIX}


@pytest.fixture
def network(data_root, tmp_path):
    """Makes the file of a network that was trained on these data."""

    def make(data):
        path = write_teacher(tmp_path / "net.ckpt", data_root)
        checkpoint = read_checkpoint(path)
        del checkpoint["digest"]
        write_checkpoint({**checkpoint, "config": {**checkpoint["config"], "data": data}}, path)
        return path

    return make


def data_of(words):
    return to_plain(load_config([word for word in words if not word.startswith("init_from=")]).data)


@pytest.mark.parametrize("trained", [FOLDER, TUNED])
def test_the_original_data_and_their_validation_split_are_those_of_the_network(network, trained):
    path = network(trained)
    data = data_of(resolve_overrides([f"init_from='{path}'", "data=feedback"]))
    assert data["mix"] == MIX
    assert (data["val"], data["split_seed"], data["batch_size"]) == (0.15, 3, 32)
    assert (data["name"], data["shots"], data["root"]) == ("feedback", None, "outputs/feedback.sqlite")


def test_what_is_typed_stays(network):
    path = network(FOLDER)
    words = ["data=feedback", "data.mix.root=elsewhere", "data.mix.options={size:32}", "data.val=9"]
    data = data_of(add_mix(words, path))
    assert data["mix"] == {**MIX, "root": "elsewhere", "options": {"size": 32}} and data["val"] == 9
    for words in (["data=feedback", "data.mix.name=digits"], ["data=digits"], []):
        assert add_mix(words, path) == words


def test_data_without_options_of_their_own_have_none():
    assert describe_mix({"name": "digits", "root": "data", "val": 0.15, "_convert_": "all"}) == {
        "name": "digits", "root": "data", "options": None
    }  # fmt: skip


def test_corrections_are_a_new_task_of_the_network(network):
    path = network(FOLDER)
    words = resolve_overrides([f"init_from='{path}'", "data=feedback"])
    assert {"scenario=renewal", "continual=rehearsal", "experiment=finetune"} <= set(words)
    words = resolve_overrides([f"init_from='{path}'", "data=feedback", "continual=derpp"])
    assert "continual=rehearsal" not in words and "scenario=renewal" in words
    words = resolve_overrides([f"init_from='{path}'", "data=feedback", "scenario=none"])
    assert not {"scenario=renewal", "continual=rehearsal"} & set(words)
