"""What torchrun's processes share, and what is refused."""

import json

import pytest
from torch.distributed import TCPStore

from src.cli.process import is_main_process
from src.cli.torchrun import check_processes, share_words, started_by_torchrun
from src.errors import InputError


@pytest.fixture
def store(monkeypatch):
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    for name, value in {
        "TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "0",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    return store


def test_the_first_process_resolves_the_words_of_all(store, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    first = share_words(["seed=1", "init_from=newest"], lambda words: [words[0], "init_from=/run"])
    assert first[:2] == ["seed=1", "init_from=/run"]
    assert first[2].startswith("hydra.run.dir=outputs/")
    assert is_main_process()
    monkeypatch.setenv("RANK", "2")
    assert not is_main_process()  # though it is the first of its machine
    other = share_words(["seed=1", "init_from=newest"], lambda words: pytest.fail("it resolves nothing"))
    assert other == [*first, "hydra.output_subdir=null", "hydra.job.name=train_ddp_process_2"]


@pytest.mark.parametrize("word", ["hydra.run.dir=here", "resume_from=there"])
def test_a_run_folder_that_is_typed_stays(store, monkeypatch, word):
    monkeypatch.setenv("RANK", "0")
    assert share_words([word], list) == [word]


def test_words_that_cannot_be_resolved_end_the_others_at_once(store, monkeypatch):
    def refuse(words):
        raise InputError("no such run")

    monkeypatch.setenv("RANK", "0")
    with pytest.raises(InputError, match="no such run"):
        share_words(["init_from=x"], refuse)
    assert json.loads(store.get("command/0")) is None
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(InputError, match="the first process has stopped; its terminal says why"):
        share_words(["init_from=x"], refuse)


def test_another_number_of_processes_than_the_trainers_is_refused(store, monkeypatch):
    check_processes(4)
    fix = "give trainer.strategy=ddp trainer.devices=2 trainer.num_nodes=2"
    with pytest.raises(InputError, match=f"torchrun started 4 processes, the trainer has 1: {fix}"):
        check_processes(1)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    assert not started_by_torchrun()
    check_processes(1)
