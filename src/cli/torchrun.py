"""Commands that torchrun starts on several machines: one set of words, and one run folder, for all processes."""

import json
import os
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from src.cli.overrides import override_key
from src.errors import InputError

if TYPE_CHECKING:
    from torch.distributed import TCPStore

WAIT_S = 300  # for the first process to read what its words stand for
Resolve = Callable[[Sequence[str]], list[str]]


def started_by_torchrun() -> bool:
    """Whether this is one of several processes of torchrun."""
    return "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"


def agent_store(seconds: float) -> "TCPStore":
    """A connection to torchrun's own store, which waits so long for an answer. Raises torch's DistError without one."""
    from torch.distributed import TCPStore

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return TCPStore(address, port, is_master=False, timeout=timedelta(seconds=seconds))


def attempt() -> str:
    """How often torchrun has started the processes again, which is part of each key in its store."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")


def check_processes(expected: int) -> None:
    """Raise InputError if torchrun has started another number of processes than the trainer counts on."""
    count, here = os.environ.get("WORLD_SIZE", "1"), os.environ.get("LOCAL_WORLD_SIZE", "1")
    if started_by_torchrun() and int(count) != expected:
        nodes = int(count) // int(here)
        fix = f"trainer.strategy=ddp trainer.devices={here} trainer.num_nodes={nodes}"
        raise InputError(f"torchrun started {count} processes, the trainer has {expected}: give {fix}")


def share_words(words: Sequence[str], resolve: Resolve) -> list[str]:
    """The words of the first process, resolved there, with its run folder; each other process logs beside its log.

    The run folder and everything that the words name is on a file system that all machines mount.
    Raises InputError in the others where the first process cannot resolve its words, or does not answer.
    """
    from torch.distributed import DistStoreError

    rank, key = os.environ["RANK"], f"command/{attempt()}"
    try:
        store = agent_store(WAIT_S)
        if rank == "0":
            try:
                found = [*resolve(words), *_run_folder(words)]
            except BaseException:
                store.set(key, "null")
                raise
            store.set(key, json.dumps(found))
            return found
        shared = json.loads(store.get(key))
    except DistStoreError as error:
        reason = " ".join(str(error).split())[:200]
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise InputError(f"torchrun: the first process at {where} does not answer ({reason})") from None
    if shared is None:
        raise InputError("torchrun: the first process has stopped; its terminal says why")
    return [*shared, "hydra.output_subdir=null", f"hydra.job.name=train_ddp_process_{rank}"]


def _run_folder(words: Sequence[str]) -> list[str]:
    """A run folder of this moment, unless the words have one or find it themselves."""
    if any(override_key(word) in ("hydra.run.dir", "resume_from") for word in words):
        return []
    now = datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
    return [f"hydra.run.dir=outputs/{now}_${{run_name}}"]
