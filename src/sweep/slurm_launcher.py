"""Jobs as tasks of SLURM's arrays, by sbatch, squeue and scontrol alone: no accounting database is needed."""

import hashlib
import logging
import shlex
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

from hydra.core.utils import JobReturn, JobRuntime, JobStatus
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from src.errors import InputError, boolean, integer, number, positive_int, printable
from src.files import display_path, write_json
from src.sweep import slurm_job
from src.sweep.job import failed_result, resumed_overrides
from src.sweep.launcher import JobLauncher, refuse_several_processes
from src.sweep.run_records import read_status

log = logging.getLogger(__name__)
ENDED = ("finished", "failed")
STOPPED = (
    "CANCELLED",
    "NODE_FAIL",
    "TIMEOUT",
    "PREEMPTED",
    "BOOT_FAIL",
    "DEADLINE",
)  # not the job's fault: it may go on
MISSED = 3  # looks at the queue without a job, and at its folder without a result: it is lost (file systems lag)
SCRIPT = """#!/bin/sh
{setup}export OMP_NUM_THREADS={cpus} MKL_NUM_THREADS={cpus}
exec {python} -m {module} {payload} $(({offset} + SLURM_ARRAY_TASK_ID))
"""


class SlurmLauncher(JobLauncher):
    """The jobs that start together are one array; SLURM runs `array_parallelism` of them at once, None for any number.

    Each task makes one run in its own process, in the sweep's folder, which the nodes mount. It saves its state
    and is queued again `signal_delay_s` before its limit of `timeout_min`; one that SLURM preempts or whose node fails
    is queued again by SLURM: each resumes from last.ckpt. A sweep that is stopped leaves them in the queue, and
    sweep.resume joins those that are there. additional_parameters: of sbatch. setup: lines of shell before the job.
    """

    slots = None

    def __init__(
        self,
        timeout_min: int = 60,
        cpus_per_task: int = 1,
        gpus_per_node: int = 0,
        mem_gb: float | None = None,
        partition: str | None = None,
        account: str | None = None,
        qos: str | None = None,
        constraint: str | None = None,
        array_parallelism: int | None = None,
        signal_delay_s: int = 120,
        requeue: bool = True,
        poll_s: float = 5.0,
        setup: Sequence[str] | None = None,
        additional_parameters: Mapping | None = None,
    ):
        key = "hydra.launcher."
        self.cpus = positive_int(key + "cpus_per_task", cpus_per_task)
        self.parallel = positive_int(key + "array_parallelism", array_parallelism, optional=True)
        self.poll_s = number(key + "poll_s", poll_s, above=0)
        minutes = positive_int(key + "timeout_min", timeout_min)
        delay = integer(key + "signal_delay_s", signal_delay_s, 0, 60 * minutes - 1)
        gpus = integer(key + "gpus_per_node", gpus_per_node, 0)
        memory = number(key + "mem_gb", mem_gb, above=0, optional=True)
        given = {"partition": partition, "account": account, "qos": qos, "constraint": constraint}
        requeue = boolean(key + "requeue", requeue)
        given |= {"time": minutes, "cpus-per-task": self.cpus, "signal": f"B:USR1@{delay}" if requeue else None}
        given |= {"gres": f"gpu:{gpus}" if gpus else None, "mem": memory and f"{round(1024 * memory)}M"}
        given |= {"nodes": 1, "ntasks": 1, "open-mode": "append", **(additional_parameters or {})}
        self.options = [f"--{name}={value}" for name, value in given.items() if value is not None]
        self.options.append("--requeue" if requeue else "--no-requeue")
        self.lines = "".join(f"{line}\n" for line in setup or ())
        self.waiting: list[int] = []
        self.futures: dict[int, Future] = {}
        self.tasks: dict[int, str] = {}  # SLURM's name of each job's task
        self.missed: dict[int, int] = defaultdict(int)
        self.ended = threading.Event()

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        refuse_several_processes(config, "give hydra/launcher=serial inside one allocation")
        self.folder = Path(config.hydra.sweep.dir)
        self.name = f"{self.folder.name}-{hashlib.sha256(bytes(self.folder)).hexdigest()[:8]}"
        stop = f"scancel --me --name=$(squeue --me -h -o %j | grep {shlex.quote(self.name)} | sort -u | paste -sd,)"
        self.resume_hint = f"the jobs stay in SLURM's queue, and sweep.resume joins them; {stop} ends them"
        self.largest = 1001
        for line in _slurm("scontrol", "show", "config").splitlines():
            if line.startswith("MaxArraySize"):
                self.largest = int(line.partition("=")[2])

    def submit(self, overrides: Sequence[str], number: int) -> Future:
        future = self.futures[number] = Future()
        future.overrides = list(overrides)  # type: ignore[attr-defined]
        self.waiting.append(number)
        return future

    def flush(self) -> None:
        if not self.waiting:
            return
        queued = self._queue()
        self.tasks |= {number: task for number, task in queued.items() if number in self.futures}
        joined = [number for number in self.waiting if number in queued]
        if joined:
            print(f"{len(joined)} of the jobs are in SLURM's queue already", flush=True)
        blocks: dict[int, list[int]] = defaultdict(list)
        for job in self.waiting:
            if job not in queued:
                resumed_overrides(self.folder / str(job), ())  # a result of an earlier attempt is none of this one
                blocks[job // self.largest * self.largest].append(job)
        for offset, numbers in blocks.items():
            self._submit_array(offset, numbers)
        self.waiting.clear()
        if not hasattr(self, "thread"):
            self.thread = threading.Thread(target=self._watch, daemon=True)
            self.thread.start()

    def _submit_array(self, offset: int, numbers: list[int]) -> None:
        folder = self.folder / ".slurm"
        folder.mkdir(parents=True, exist_ok=True)
        payload = folder / "sweep.pkl"
        slurm_job.write_payload(payload, JobRuntime.instance().get("name"), self.context, self.task, self.config)
        words = {"python": shlex.quote(sys.executable), "module": slurm_job.__name__, "cpus": self.cpus}
        words |= {"payload": shlex.quote(str(payload)), "offset": offset, "setup": self.lines}
        array = ",".join(f"{first}-{last}" for first, last in _ranges([number - offset for number in numbers]))
        array += f"%{self.parallel}" if self.parallel else ""
        output = _slurm(
            "sbatch", "--parsable", f"--array={array}", f"--job-name={self.name}.{offset}",
            f"--output={str(folder).replace('%', '%%')}/%A_%a.log", *self.options, content=SCRIPT.format(**words),
        )  # fmt: skip
        job = output.strip().splitlines()[-1].partition(";")[0]
        self.tasks |= {number: f"{job}_{number - offset}" for number in numbers}

    def _queue(self) -> dict[int, str]:
        """The jobs of this sweep that wait or run in SLURM, each with the name of its task."""
        found = {}
        for line in _slurm("squeue", "--me", "--noheader", "--array", "--format=%j %F %K").splitlines():
            name, job, task = line.rsplit(maxsplit=2)
            sweep, _, offset = name.strip().rpartition(".")
            if sweep == self.name and task.isdigit():
                found[int(offset) + int(task)] = f"{job}_{task}"
        return found

    def _watch(self) -> None:
        told = False
        while not self.ended.wait(self.poll_s):
            running = list(self.tasks)
            try:
                queued = self._queue()
            except InputError as error:  # the controller restarts: the jobs go on
                if not told:
                    log.warning("%s; the jobs go on, waiting for SLURM to answer", error)
                told = True
                continue
            told = False
            for job in running:
                if job not in queued and (result := self._result(job)) is not None:
                    del self.tasks[job]
                    self.futures.pop(job).set_result(result)

    def _result(self, number: int) -> JobReturn | None:
        """The result of a job that has left the queue; None to look again."""
        folder, overrides = self.folder / str(number), self.futures[number].overrides
        try:
            status = read_status(folder)
        except (OSError, ValueError):
            status = {"state": "damaged"}
        if status["state"] == "finished":
            result = JobReturn(overrides=overrides, status=JobStatus.COMPLETED)
            result.return_value = status.get("objective")
            return result
        if status["state"] == "failed":
            return failed_result(overrides, RuntimeError(status.get("error", "")))
        self.missed[number] += 1
        if self.missed[number] < MISSED:
            return None
        state, error = self._lost(number)
        if status["state"] == "interrupted" and state == "failed":  # it ended itself, and says why
            state, error = "interrupted", status.get("error") or error
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "status.json", {**status, "state": state, "command": "train", "error": error})
        return failed_result(overrides, RuntimeError(error))

    def _lost(self, number: int) -> tuple[str, str]:
        """The state of a job without a result, and what SLURM says of it."""
        task = self.tasks[number]
        try:
            shown = _slurm("scontrol", "--oneliner", "show", "job", task)
        except InputError:  # it has forgotten the job
            shown = ""
        words = dict(word.partition("=")[::2] for word in shown.split())
        state = words.get("JobState", "gone from the queue")
        reason = f" ({words['Reason']})" if words.get("Reason", "None") not in ("None", "") else ""
        logs = f"{display_path(self.folder)}/.slurm/{task}.log"
        return "interrupted" if state in STOPPED else "failed", f"SLURM: job {task} is {state}{reason}; see {logs}"

    def close(self) -> None:
        self.ended.set()


def _ranges(numbers: list[int]) -> list[tuple[int, int]]:
    """Sorted numbers as pairs of the first and the last of each run without gaps."""
    ranges: list[tuple[int, int]] = []
    for value in sorted(numbers):
        if ranges and ranges[-1][1] == value - 1:
            ranges[-1] = (ranges[-1][0], value)
        else:
            ranges.append((value, value))
    return ranges


def _slurm(*words: str, content: str | None = None) -> str:
    """What one of SLURM's commands prints. Raises InputError where it fails."""
    try:
        done = subprocess.run(words, input=content, capture_output=True, text=True, timeout=120)
    except FileNotFoundError:
        raise InputError(f"hydra/launcher=slurm: there is no {words[0]} here: type it where SLURM is") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"hydra/launcher=slurm: {words[0]} does not answer") from None
    if done.returncode:
        message = " ".join(done.stderr.split()) or f"{words[0]} ended with status {done.returncode}"
        raise InputError(f"hydra/launcher=slurm: {printable(message, 300)}")
    return done.stdout
