"""What all sweepers share: the jobs of one command are run, recorded, resumed and summarized in tables."""

import sys
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import closing
from itertools import groupby, islice
from pathlib import Path
from queue import SimpleQueue

from filelock import FileLock, Timeout
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from src.cli.error_line import CommandExit, error_line, stop_behind
from src.cli.overrides import command_on, is_sweep_override, override_key
from src.errors import InputError, printable, require
from src.files import display_path, write_json
from src.sweep.comparison import Comparison, compare_runs, resolve_metric
from src.sweep.job import job_error, resumed_overrides
from src.sweep.launcher import JobLauncher
from src.sweep.ledger import Budget, config_dir_flags, format_duration, open_ledger
from src.sweep.report import write_sweep_report
from src.sweep.run_records import Run, read_run, shorten_value
from src.sweep.study import SearchSummary
from src.sweep.table import format_metric, sweep_summary, write_tables

DONE = ("finished", "pruned", "failed")
TABLE_SHARE = 0.05  # of the time that may go into tables while jobs run: each costs as much as there are jobs
# Keys of one call, which the ledger does not record.
CALL_KEYS = (
    "sweep.resume", "sweep.max_jobs", "sweep.max_time", "sweep.retry_failed", "hydra.sweep.dir", "hydra.mode",
)  # fmt: skip


class JobSweeper(Sweeper):
    """Runs the jobs that a subclass lists in `plan` or adds one by one in `add_job`.

    total_jobs: jobs of the sweep, done ones included. swept_keys: shown in the progress lines. metric: orders the
    tables; None for the metric that the runs monitor. extra_metrics: further columns of the tables. batch_size: most
    jobs at once for a launcher that takes batches; None for all.
    """

    total_jobs = 0
    swept_keys: Sequence[str] = ()
    metric: str | None = None
    extra_metrics: Sequence[str] = ()
    batch_size: int | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.task, self.config = hydra_context, task_function, config
        with open_dict(config.hydra.sweep):  # one folder for all jobs, whenever and wherever they start
            config.hydra.sweep.dir = str(Path(config.hydra.sweep.dir).resolve())
        self.folder = Path(config.hydra.sweep.dir)
        self.runs: dict[int, Run] = {}
        self.best: Run | None = None
        self.best_metric: tuple[str, str] | None = None  # and its mode
        self.count_done, self.tables_due = 0, 0.0

    def plan(self, overrides: list[Override]) -> None:
        """Check what is swept and list the jobs that are known in the ledger. Raises InputError."""
        raise NotImplementedError

    def add_job(self) -> int | None:
        """Append another job to the ledger; its number, or None if the sweep has all its jobs."""
        return None

    def on_job_end(self, number: int) -> None:
        """Called after each job, when `runs` has its result."""

    def search_summary(self) -> SearchSummary | None:
        """What a search adds to the report; None for a sweep that is no search."""
        return None

    def check_job(self, overrides: Sequence[str]) -> None:
        """Compose a job without running it. Raises Hydra's errors."""
        self.context.config_loader.load_sweep_config(self.config, list(overrides))

    def sweep(self, arguments: list[str]) -> None:
        """Run the jobs that are not done. Raises CommandExit: 1 if a job failed, 130 or 143 if interrupted."""
        verb = self.config.hydra.job.name
        require("sweep" in self.config, f"-m sweeps src.train only: run src.{verb} once for each value")
        options = self.config.sweep
        self.budget = Budget(options.max_time, options.max_jobs)
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        words = [*self.config.hydra.overrides.hydra, *arguments]
        recorded = [word for word in words if override_key(word) not in CALL_KEYS]
        sweep_options = [word for word in arguments if override_key(word).startswith("sweep.")]
        swept = " ".join(word for word in sweep_options if is_sweep_override(word))
        require(not swept, f"{swept}: a sweep takes one value")
        self.ledger = open_ledger(self.folder, recorded, config_dir_flags(sys.argv[1:]))
        self.plan(parser.parse_overrides([word for word in arguments if word not in sweep_options]))
        self.ledger.swept = list(self.swept_keys)
        context = {"hydra_context": self.context, "task_function": self.task, "config": self.config}
        self.launcher = Plugins.instance().instantiate_launcher(**context)
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.folder / ".lock", timeout=0):
                self._run_jobs(bool(options.retry_failed))
        except Timeout:
            raise InputError(f"{display_path(self.folder)} is being swept by another process") from None

    def _run_jobs(self, retry_failed: bool) -> None:
        self.ledger.save()
        for number in range(len(self.ledger.jobs)):
            self._read_run(number)
        done = [state for state in DONE if not (retry_failed and state == "failed")]
        waiting = deque(number for number, run in self.runs.items() if run.state not in done)
        self.count_done = sum(run.state in DONE for run in self.runs.values())
        counts = f"{self.total_jobs} job{'s' * (self.total_jobs != 1)}, {self.count_done} of them done"
        print(f"sweep: {counts}; {display_path(self.folder)}", flush=True)
        self.started, self.job_started, self.recorded_jobs = time.monotonic(), {}, 0
        try:
            if isinstance(self.launcher, JobLauncher):
                with closing(self.launcher):
                    self._submit_jobs(waiting)
            else:
                self._launch_batches(waiting)
        except (KeyboardInterrupt, CommandExit) as stop:
            for number in self.runs:
                self._read_run(number)
            write_tables(self._compare(), self.folder)
            hint = "; ".join(filter(None, [self._resume_hint(), getattr(self.launcher, "resume_hint", "")]))
            raise CommandExit(getattr(stop, "status", 130), f"stopped; {hint}") from None
        self._finish()

    def _resume_hint(self) -> str:
        return f"resume with: {command_on(self.folder, 'train', 'sweep.resume', '-m')}"

    def _next_job(self, waiting: deque[int]) -> int | None:
        if self.budget.limit_reached():
            return None
        number = waiting.popleft() if waiting else self.add_job()
        if number is not None:
            self.budget.started_jobs += 1
            self.count_done -= number in self.runs and self.runs[number].state in DONE  # a failed one, tried again
            self.job_started[number] = time.monotonic()
        return number

    def _submit_jobs(self, waiting: deque[int]) -> None:
        pending: dict[Future, int] = {}
        done: SimpleQueue[Future] = SimpleQueue()
        slots = self.launcher.slots or self.batch_size or max(1, self.total_jobs)
        while True:
            while len(pending) < slots and (number := self._next_job(waiting)) is not None:
                try:
                    future = self.launcher.submit(self.ledger.jobs[number], number)
                except Exception as error:  # it could not be composed: it has no folder and no log
                    self._record(number, error)
                    continue
                pending[future] = number
                future.add_done_callback(done.put)
            if not pending:
                return
            self.launcher.flush()
            future = done.get()
            self._record(pending.pop(future), job_error(future.result()))

    def _launch_batches(self, waiting: deque[int]) -> None:
        while numbers := list(islice(iter(lambda: self._next_job(waiting), None), self.batch_size)):
            # Hydra's launchers number the jobs of a batch without gaps.
            for _, group in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
                batch = [number for _, number in group]
                overrides = [resumed_overrides(self.folder / str(number), self.ledger.jobs[number]) for number in batch]
                try:
                    results = self.launcher.launch(overrides, initial_job_idx=batch[0])
                except RuntimeError as error:  # no srun, no partition: the jobs are not at fault
                    name = self.config.hydra.runtime.choices["hydra/launcher"]
                    raise InputError(f"hydra/launcher={name} cannot start jobs: {error}") from None
                for number, result in zip(batch, results, strict=True):
                    self._record(number, job_error(result))

    def _read_run(self, number: int) -> None:
        run = read_run(self.folder / str(number), str(number), self.ledger.jobs[number])
        self.runs[number] = run
        if self.best_metric is None and run.results:
            own = self.metric and run.score(self.metric) is not None
            self.best_metric = resolve_metric([run], self.metric if own else None)
        if self.best_metric and (score := run.score(self.best_metric[0])) is not None:
            best = self.best and self.best.score(self.best_metric[0])
            higher = best is None or (score > best if self.best_metric[1] == "max" else score < best)
            self.best = run if higher else self.best

    def _record(self, number: int, error: BaseException | None) -> None:
        """Take in the result of a job, update the tables, and print its result, the best so far and the time left."""
        if (stop := stop_behind(error)) is not None:
            raise stop
        self._read_run(number)
        run, seconds = self.runs[number], time.monotonic() - self.job_started[number]
        if error is not None and run.state not in ("failed", "interrupted"):  # the job could not record it
            run.state, run.error, run.seconds = "failed", error_line(error), seconds
            run.folder.mkdir(parents=True, exist_ok=True)
            write_json(run.folder / "status.json", {"state": "failed", "seconds": run.seconds, "error": run.error})
        self.recorded_jobs += 1
        self.count_done += run.state in DONE
        self.on_job_end(number)
        if time.monotonic() >= self.tables_due:
            began = time.monotonic()
            write_tables(self._compare(), self.folder)
            self.tables_due = time.monotonic() + (time.monotonic() - began) / TABLE_SHARE
        done, total, metric, best = self.count_done, self.total_jobs, (self.best_metric or ("val/acc",))[0], self.best
        values = [f"{key}={shorten_value(run.overrides[key])}" for key in self.swept_keys if key in run.overrides]
        result = f"{metric} {format_metric(run.score(metric), metric)}" + " (pruned)" * (run.state == "pruned")
        result = f"{run.state}: {printable(run.error)}" if run.state in ("failed", "interrupted") else result
        line = f"[{done:>{len(str(total))}}/{total}] #{run.name} {' '.join(values)}  {result}"
        line += f"  {format_duration(run.seconds or seconds)}"
        if best is not None:
            line += f" | best {format_metric(best.score(metric), metric)} #{best.name}"
        if done < total:
            per_job = (time.monotonic() - self.started) / self.recorded_jobs
            line += f" | {format_duration(per_job * (total - done))} left"
        print(line, flush=True)

    def _compare(self) -> Comparison:
        runs = [self.runs[number] for number in sorted(self.runs)]
        known = self.metric and any(run.score(self.metric) is not None for run in runs)
        return compare_runs(runs, self.metric if known else None, self.extra_metrics, self.swept_keys)

    def _finish(self) -> None:
        comparison = self._compare()
        write_tables(comparison, self.folder)
        if any(run.results for run in self.runs.values()):
            lines = write_sweep_report(comparison, self.folder, self.search_summary(), bool(self.config.figures))
            print(f"\n{sweep_summary(comparison)}\n")
            print("\n".join([f"everything is in {display_path(self.folder)}", *lines]))
        left, limit = self.total_jobs - self.count_done, self.budget.limit_reached()
        if left > 0 and limit:
            print(f"{limit} is reached, {left} jobs are left; {self._resume_hint()}")
        failed = [run for run in self.runs.values() if run.state == "failed"]
        if failed:
            names = ", ".join(f"#{run.name}" for run in failed[:12])
            message = f"{len(failed)} of {self.total_jobs} jobs failed ({names}); the first: {failed[0].error}"
            raise CommandExit(1, message)
        stopped = [run for run in self.runs.values() if run.state == "interrupted" and run.error]
        if stopped and not limit:
            what = f"{len(stopped)} of {self.total_jobs} jobs did not end; the first, #{stopped[0].name}"
            raise CommandExit(1, f"{what}: {stopped[0].error}; {self._resume_hint()}")
