"""Jobs as tasks of Ray: on this machine, or on a cluster that runs already."""

import io
import os
import socket
import tarfile
import tempfile
import time
import uuid
import warnings
from collections.abc import Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobRuntime
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from src.errors import InputError, boolean, integer, number, positive_int, printable, require
from src.files import display_path
from src.sweep.job import failed_result, run_in_worker
from src.sweep.launcher import GRACE_S, JobLauncher, WorkerLostError, refuse_several_processes

if TYPE_CHECKING:
    from src.data.source import Split

SIGN = ".ray"  # file by which a worker knows that it sees the sweep's folder


class RayLauncher(JobLauncher):
    """Every job is a task, which Ray starts where `cpus`, `gpus` and `memory_gb` are free.

    address: of a running cluster, auto for the one that this machine belongs to; None starts one here for the sweep.
    cpus: also torch's threads. retries: how often a job whose worker or node died starts again, from its last.ckpt.
    bring_back: run in a folder of the node and send it here at the job's end, where nodes do not mount the sweep's
    folder. Raises InputError for invalid values, a cluster that does not answer, and one without room for any job.
    """

    slots = None

    def __init__(
        self,
        address: str | None = None,
        cpus: int = 1,
        gpus: float = 0,
        memory_gb: float | None = None,
        retries: int = 3,
        bring_back: bool = False,
    ):
        key = "hydra.launcher."
        self.address = address
        self.cpus = positive_int(key + "cpus", cpus)
        self.gpus = number(key + "gpus", gpus, least=0)
        self.memory = number(key + "memory_gb", memory_gb, above=0, optional=True)
        self.retries = integer(key + "retries", retries, 0)
        self.bring_back = boolean(key + "bring_back", bring_back)
        self.running: dict[Any, Future] = {}  # Ray's reference of each job -> its future

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        refuse_several_processes(config)
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's word for what it will do anyway
        try:
            import ray
        except ImportError:
            raise InputError("hydra/launcher=ray needs pip install -e '.[ray]'") from None
        try:
            _check_answers(self.address)  # Ray itself tries for minutes
            ray.init(
                address=self.address or "local", include_dashboard=False, log_to_driver=False, logging_level="ERROR"
            )
        except (ConnectionError, ValueError, RuntimeError, OverflowError) as error:
            message = printable(" ".join(str(error).split()), 200)
            raise InputError(f"hydra.launcher.address={self.address}: no Ray cluster answers ({message})") from None
        self.ray, self.folder = ray, Path(config.hydra.sweep.dir)
        self._check_room(ray.nodes())
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / SIGN).write_text(sign := uuid.uuid4().hex)
        registry = ray.remote(num_cpus=0)(Registry).remote()
        parts = JobRuntime.instance().get("name"), hydra_context, task_function, config
        self.payload = ray.put((*parts, sign, os.getcwd(), self.bring_back, registry))
        options: dict[str, Any] = {"num_cpus": self.cpus, "num_gpus": self.gpus, "max_retries": self.retries}
        options |= {"memory": round(self.memory * 1e9)} if self.memory else {}
        self.job = ray.remote(**options)(_run)

    def _check_room(self, nodes: list[dict]) -> None:
        wanted = {"CPU": self.cpus, "GPU": self.gpus, "memory": (self.memory or 0) * 1e9}
        alive = [node["Resources"] for node in nodes if node["Alive"]]
        fits = any(all(node.get(name, 0) >= amount for name, amount in wanted.items()) for node in alive)
        most = ", ".join(f"{max(node.get(name, 0) for node in alive):g} {name}" for name in ("CPU", "GPU"))
        asked = f"hydra.launcher.cpus={self.cpus}, gpus={self.gpus:g}, memory_gb={self.memory}"
        require(fits, f"{asked}: no node of {len(alive)} has so much (at most {most}, each of one node)")

    def submit(self, overrides: Sequence[str], number: int) -> Future:
        reference = self.job.options(name=f"{self.folder.name} #{number}").remote(self.payload, list(overrides), number)
        outer: Future = Future()
        self.running[reference] = outer

        def forward(done: Future) -> None:
            self.running.pop(reference, None)
            error = done.exception()
            if error is not None:
                outer.set_result(failed_result(overrides, WorkerLostError(_reason(error))))
                return
            result, packed = done.result()
            if packed:
                _unpack(packed, self.folder / str(number))
            outer.set_result(result)

        reference.future().add_done_callback(forward)
        return outer

    def close(self) -> None:
        """Stop the running jobs after they have saved their state; a cluster that was there goes on."""
        left = list(self.running.items())
        try:
            for reference, _ in left:
                self.ray.cancel(reference)
            wait([future for _, future in left], timeout=GRACE_S)
        finally:
            self.ray.shutdown()
            (self.folder / SIGN).unlink(missing_ok=True)


def _check_answers(address: str | None) -> None:
    """Raise ConnectionError where nobody listens at an address of host:port, and ValueError where it is no address."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon:  # auto, or none
        return
    if not port.isdigit():
        raise ValueError("an address is auto or host:port")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise ConnectionError(str(error.strerror or error).lower()) from None


def _reason(error: BaseException) -> str:
    """An error of Ray's on one line."""
    name = type(error).__name__
    if name == "TaskCancelledError":
        return "stopped"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable(f"Ray lost it ({name}: {lines[0] if lines else 'no reason given'})", 300)


def _run(payload: tuple, overrides: list[str], number: int) -> tuple[JobReturn, bytes]:
    """Run a job in Ray's worker; its result, and its packed folder if it is to be brought back."""
    name, context, task, config, sign, directory, bring_back, registry = payload
    if Path(directory).is_dir():
        os.chdir(directory)  # where relative paths were typed
    from src.data.cache import share

    share(NodeStore(registry))
    folder = Path(config.hydra.sweep.dir)
    if not bring_back:
        seen = folder / SIGN
        if not (seen.is_file() and seen.read_text() == sign):
            where = f"{socket.gethostname()} does not see {display_path(folder)}"
            error = f"{where}: give hydra.launcher.bring_back=true, or a hydra.sweep.dir that every node mounts"
            return failed_result(overrides, InputError(error)), b""
        return run_in_worker(name, context, task, config, overrides, number), b""
    with tempfile.TemporaryDirectory() as temporary:
        with open_dict(config.hydra.sweep):
            config.hydra.sweep.dir = temporary
        result = run_in_worker(name, context, task, config, overrides, number)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(Path(temporary) / str(number), ".")
        return result, packed.getvalue()


def _unpack(packed: bytes, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")


class Registry:
    """An actor that knows which data lie in Ray's object store."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], list] = {}
        self.readers: dict[tuple[str, str], float] = {}

    def find(self, key: tuple[str, str]) -> list:
        return self.found.get(key, [])

    def add(self, key: tuple[str, str], reference: list) -> None:
        self.found[key] = reference

    def may_read(self, key: tuple[str, str]) -> bool:
        """Whether the caller is the one that reads these data: nobody has begun in the last minute."""
        if time.monotonic() - self.readers.get(key, float("-inf")) < 60:
            return False
        self.readers[key] = time.monotonic()
        return True


class NodeStore:
    """Splits in Ray's object store: read by one job, and held once by each node, for all its workers."""

    def __init__(self, registry: Any):
        self.registry = registry

    def get(self, key: tuple[str, str]) -> "Split | None":
        import ray

        while not (found := ray.get(self.registry.find.remote(key))):
            if ray.get(self.registry.may_read.remote(key)):
                return None
            time.sleep(0.2)
        try:
            return _from_arrays(ray.get(found[0]))
        except ray.exceptions.RayError:  # the worker that read them is gone, and they with it
            return None

    def put(self, key: tuple[str, str], split: "Split") -> None:
        import ray

        reference = ray.put(_to_arrays(split))
        ray.get(self.registry.add.remote(key, [reference]))


def _to_arrays(split: "Split") -> dict:
    """Ray maps arrays into every worker of a node; it would copy tensors."""
    from torch import Tensor

    return {name: value.numpy() if isinstance(value, Tensor) else value for name, value in vars(split).items()}


def _from_arrays(parts: dict) -> "Split":
    import numpy as np
    import torch

    from src.data.source import Split

    with warnings.catch_warnings():  # the store's memory must not be written to, and nobody writes to images
        warnings.filterwarnings("ignore", message=".*not writable.*")
        images = torch.from_numpy(parts.pop("images"))
    others = {name: torch.from_numpy(v.copy()) if isinstance(v, np.ndarray) else v for name, v in parts.items()}
    return Split(images, **others)
