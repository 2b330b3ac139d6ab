"""Launchers: jobs in this process one after another, or in several worker processes at once."""

import os
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress

from hydra.core.utils import JobReturn, JobRuntime
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from src.errors import positive_int, require
from src.sweep.job import ConfigFilesOnce, failed_result, run_in_worker, run_sweep_job

GRACE_S = 30  # for a job to save its state after SIGTERM


class JobLauncher(Launcher):
    """A launcher that accepts one job at a time."""

    slots: int | None = 1  # jobs that it accepts at once; None for any number
    resume_hint = ""  # what goes on without the sweep, and how it is stopped

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.task, self.config = hydra_context, task_function, config
        ConfigFilesOnce.read.clear()  # of an earlier sweep

    def submit(self, overrides: Sequence[str], number: int) -> Future:
        """Start a job; the future's result is Hydra's JobReturn."""
        raise NotImplementedError

    def flush(self) -> None:
        """Called after the jobs that start together are submitted, before their results are waited for."""

    def close(self) -> None:
        """Stop the running jobs after they have saved their state, or leave them to a scheduler that runs them."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        futures = [self.submit(overrides, number) for number, overrides in enumerate(job_overrides, initial_job_idx)]
        return [future.result() for future in futures]


def refuse_several_processes(config: DictConfig, advice: str = "give hydra/launcher=serial") -> None:
    """Raise InputError for jobs of which each starts several processes."""
    strategy = str(config.get("trainer", {}).get("strategy"))
    own = strategy.startswith(("ddp", "fsdp"))
    require(not own, f"trainer.strategy={strategy} starts its own processes: {advice}")


class SerialLauncher(JobLauncher):
    """One job after another in this process, which imports libraries and reads data once."""

    def submit(self, overrides: Sequence[str], number: int) -> Future:
        future: Future = Future()
        future.set_result(run_sweep_job(self.context, self.task, self.config, overrides, number))
        return future


class JoblibLauncher(JobLauncher):
    """Several jobs at once in processes of joblib's loky, which are reused and share the cores.

    n_jobs: jobs at once; None for one per GPU, or one per core without GPUs. threads: of torch in each job; None for
    the cores divided by n_jobs. With several GPUs each process sees one. A worker that dies loses its own job only.
    """

    def __init__(self, n_jobs: int | None = None, threads: int | None = None):
        self.n_jobs = positive_int("hydra.launcher.n_jobs", n_jobs, optional=True)
        self.threads = positive_int("hydra.launcher.threads", threads, optional=True)
        self.workers: dict[int, object] = {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        refuse_several_processes(config)
        trainer = config.get("trainer", {})
        self.gpus = visible_gpus() if trainer.get("accelerator", "auto") in ("auto", "gpu", "cuda") else []
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.slots = self.n_jobs or len(self.gpus) or cores
        self.threads = self.threads or max(1, cores // self.slots)
        self.free = list(range(self.slots))

    def submit(self, overrides: Sequence[str], number: int) -> Future:
        slot = self.free.pop()
        if slot not in self.workers:
            self.workers[slot] = self._start_worker(slot)
        job = (self.context, self.task, self.config, list(overrides), number)
        inner = self.workers[slot].submit(run_in_worker, JobRuntime.instance().get("name"), *job)
        outer: Future = Future()

        def forward(done: Future) -> None:
            error = done.exception()
            if error is not None and type(error).__name__ in ("TerminatedWorkerError", "BrokenProcessPool"):
                self.workers.pop(slot).shutdown(wait=False, kill_workers=True)
                error = WorkerLostError("its process was killed (out of memory?)")
            self.free.append(slot)
            outer.set_result(failed_result(overrides, error) if error is not None else done.result())

        inner.add_done_callback(forward)
        return outer

    def _start_worker(self, slot: int):
        from joblib.externals.loky import ProcessPoolExecutor

        env = {name: str(self.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        if len(self.gpus) > 1:
            env["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
        # One executor per process: in a shared one the death of a process takes the others' jobs with it.
        return ProcessPoolExecutor(max_workers=1, env=env, initializer=_exit_with_parent, initargs=(os.getpid(),))

    def close(self) -> None:
        end = time.monotonic() + GRACE_S
        try:
            if len(self.free) < self.slots:
                for pid in [pid for worker in self.workers.values() for pid in worker._processes]:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGTERM)
            while len(self.free) < self.slots and time.monotonic() < end:
                time.sleep(0.05)
        finally:  # also after a second Ctrl-C
            for worker in list(self.workers.values()):
                worker.shutdown(wait=False, kill_workers=True)


class WorkerLostError(RuntimeError):
    """The worker process of a job died."""


def visible_gpus() -> list[str]:
    """The CUDA devices that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    visible, count = os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count()
    return [name.strip() for name in visible.split(",")][:count] if visible else [str(index) for index in range(count)]


def _exit_with_parent(parent: int) -> None:
    """Exit when the parent process is gone: killed, it cannot stop its workers."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
