"""Where the jobs of a sweep run: in this process one after another, or in several processes at once."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from src.cli.process import exit_on_sigterm
from src.errors import InputError, is_integer, require

GRACE_S = 30  # for a job to save what it has when it is told to stop


def run_one(
    context: HydraContext, task: TaskFunction, config: DictConfig, words: Sequence[str], number: int
) -> JobReturn:
    """Compose and run one job of a sweep in its own folder; on the terminal it shows only warnings."""
    setup_globals()
    job = context.config_loader.load_sweep_config(config, list(words))
    with open_dict(job):
        job.hydra.job.id = job.hydra.job.num = number
        job.hydra.sweep.dir = str(config.hydra.sweep.dir)
        job.hydra.sweep.subdir = str(number)
        job.hydra.run.dir = f"{config.hydra.sweep.dir}/{number}"  # where Lightning starts a job's other processes
        if "console" in (job.hydra.job_logging.get("handlers") or {}):
            job.hydra.job_logging.handlers.console.level = "WARNING"
    from src.data.cache import cache_enabled  # torch: not where Hydra looks for plugins

    with cache_enabled():
        return run_job(
            hydra_context=context,
            task_function=task,
            config=job,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )


class JobLauncher(Launcher):
    """A launcher that takes one job at a time.

    slots: jobs at once.
    """

    slots = 1

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.task, self.config = hydra_context, task_function, config

    def submit(self, words: Sequence[str], number: int) -> Future:
        """Start a job; the future's result is Hydra's JobReturn."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop what still runs, letting it save."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        futures = [self.submit(words, initial_job_idx + place) for place, words in enumerate(job_overrides)]
        return [future.result() for future in futures]


class SerialLauncher(JobLauncher):
    """In this process: imports and data are paid for once."""

    def submit(self, words: Sequence[str], number: int) -> Future:
        future: Future = Future()
        future.set_result(run_one(self.context, self.task, self.config, words, number))
        return future


class JoblibLauncher(JobLauncher):
    """In processes of joblib's loky, which are used again for the next job; the cores are shared out among them.

    n_jobs: jobs at once; None for one per GPU, or one per core where there is none. threads: of torch in each job; None
    for the cores divided by n_jobs. With several GPUs each process sees one.
    A process that is killed loses its own job only.
    """

    def __init__(self, n_jobs: int | None = None, threads: int | None = None):
        for key, value in (("n_jobs", n_jobs), ("threads", threads)):
            require(
                value is None or (is_integer(value) and value >= 1),
                f"hydra.launcher.{key}={value}: at least 1, or null",
            )
        self.cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.given, self.threads = n_jobs, threads
        self.gpus: list[str] = []
        self.workers: dict[int, object] = {}
        self.free: list[int] = []

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        strategy = config.get("trainer", {}).get("strategy")
        if isinstance(strategy, str) and strategy.startswith(("ddp", "fsdp")):
            raise InputError(f"trainer.strategy={strategy} starts its own processes: give hydra/launcher=serial")
        accelerator = config.get("trainer", {}).get("accelerator", "auto")
        self.gpus = visible_gpus() if accelerator in ("auto", "gpu", "cuda") else []
        self.slots = self.given or len(self.gpus) or self.cores
        self.threads = self.threads or max(1, self.cores // self.slots)
        self.free = list(range(self.slots))

    def submit(self, words: Sequence[str], number: int) -> Future:
        slot = self.free.pop()
        if slot not in self.workers:
            self.workers[slot] = self._start(slot)
        name = JobRuntime.instance().get("name")
        inner = self.workers[slot].submit(_work, self.context, self.task, self.config, list(words), number, name)
        outer: Future = Future()

        def pass_on(done: Future) -> None:
            error = done.exception()
            if error is not None and type(error).__name__ in ("TerminatedWorkerError", "BrokenProcessPool"):
                self.workers.pop(slot).shutdown(wait=False, kill_workers=True)
                error = ProcessLostError("its process was killed (out of memory?)")
            self.free.append(slot)
            outer.set_result(_failed(words, error) if error is not None else done.result())

        inner.add_done_callback(pass_on)
        return outer

    def _start(self, slot: int):
        from joblib.externals.loky import ProcessPoolExecutor

        env = {name: str(self.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        if len(self.gpus) > 1:
            env["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
        # One executor per process: in a shared one the death of a process takes the others' jobs with it.
        return ProcessPoolExecutor(max_workers=1, env=env, initializer=_end_with, initargs=(os.getpid(),))

    def close(self) -> None:
        pids = [pid for worker in self.workers.values() for pid in worker._processes]
        if len(self.free) < self.slots:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            end = time.monotonic() + GRACE_S
            while len(self.free) < self.slots and time.monotonic() < end:
                time.sleep(0.05)
        for worker in list(self.workers.values()):
            worker.shutdown(wait=False, kill_workers=True)
        self.workers.clear()


class ProcessLostError(RuntimeError):
    """A job ended without a word."""


def visible_gpus() -> list[str]:
    """The CUDA devices that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    names = [name.strip() for name in named.split(",")] if named else [str(place) for place in range(count)]
    return names[:count]


def _failed(words: Sequence[str], error: BaseException) -> JobReturn:
    result = JobReturn(overrides=list(words), status=JobStatus.FAILED)
    result.return_value = error
    return result


def _end_with(parent: int) -> None:
    """End this process when `parent` has: killed, it can tell nobody to stop."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(context, task, config, words: list[str], number: int, name: str) -> JobReturn:
    """A job in a process of its own; what cannot be sent back is sent as text."""
    Plugins.instance()
    JobRuntime.instance().set("name", name)
    signal.signal(signal.SIGTERM, exit_on_sigterm)
    try:
        result = run_one(context, task, config, words, number)
    except BaseException as error:  # Stop, KeyboardInterrupt: the folder has what there is to say
        return _failed(words, RuntimeError(f"{type(error).__name__}: {error}"))
    finally:
        logging.shutdown()
        sys.stdout.flush()
    if result.status == JobStatus.FAILED:
        return _failed(words, RuntimeError(str(result._return_value)))
    return result
