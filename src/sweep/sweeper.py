"""The jobs of one command line: run, recorded, taken up again, and brought together in tables."""

import shlex
import shutil
import sys
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from pathlib import Path

from filelock import FileLock, Timeout
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from src.cli.error_line import CommandExit, error_line
from src.cli.overrides import override_key
from src.errors import InputError, require
from src.files import display_path, write_json
from src.sweep.launcher import JobLauncher
from src.sweep.ledger import Budget, clock, config_flags, consecutive, is_sweep, open_ledger
from src.sweep.report import write_sweep_report
from src.sweep.run_records import Run, brief, read_run
from src.sweep.table import Comparison, compare_runs, sweep_summary, write_tables
from src.sweep.table import format_metric as as_text

OVER = ("finished", "pruned", "failed")
# Of one call, and no part of the sweep.
CALL = (
    "sweep.resume", "sweep.max_jobs", "sweep.max_time", "sweep.retry_failed", "hydra.sweep.dir", "hydra.mode",
)  # fmt: skip


class JobSweeper(Sweeper):
    """What sweeps have in common; `plan` and `extend` say which jobs there are."""

    batch: int | None = None  # jobs at once for a launcher that takes them in batches; None for all
    total = 0  # jobs there will be
    varied: Sequence[str] = ()  # the keys that are swept
    ordered_by: str | None = None  # the metric; None for that by which the best epochs were chosen
    beside: Sequence[str] = ()  # further figures of the tables

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.task, self.config = hydra_context, task_function, config
        with open_dict(config.hydra.sweep):  # one folder for all jobs, whenever and wherever they start
            config.hydra.sweep.dir = str(Path(config.hydra.sweep.dir).resolve())
        self.folder = Path(config.hydra.sweep.dir)
        self.runs: dict[int, Run] = {}

    def plan(self, overrides: list[Override]) -> None:
        """Check what is to be swept, and list jobs in the ledger where they are known. Raises InputError."""
        raise NotImplementedError

    def extend(self) -> int | None:
        """The number of one more job, put into the ledger; None when there are enough."""
        return None

    def told(self, number: int) -> None:
        """A job is over; `runs` has it."""

    def check(self, words: Sequence[str]) -> None:
        """Compose a job without running it; Hydra's errors say what is wrong."""
        self.context.config_loader.load_sweep_config(self.config, list(words))

    def sweep(self, arguments: list[str]) -> None:
        """Run what is left of the sweep. Raises Stop(1) if a job failed, Stop(130 or 143) if it was interrupted."""
        name = self.config.hydra.job.name
        require("sweep" in self.config, f"-m sweeps src.train: run src.{name} once for each value")
        options = self.config.sweep
        self.budget = Budget(options.max_time, options.max_jobs)
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        hydra_words = [word for word in self.config.hydra.overrides.hydra if not _about_this_call(word)]
        words = [*hydra_words, *(word for word in arguments if not _about_this_call(word))]
        several = [word for word in arguments if override_key(word).startswith("sweep.") and is_sweep(word)]
        require(not several, f"{' '.join(several)}: one value for the whole sweep")
        self.ledger = open_ledger(self.folder, words, config_flags(sys.argv[1:]))
        self.plan(parser.parse_overrides([word for word in arguments if not override_key(word).startswith("sweep.")]))
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self.context, task_function=self.task, config=self.config
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.folder / ".lock", timeout=0):
                self._all(bool(options.retry_failed))
        except Timeout:
            raise InputError(f"{display_path(self.folder)} is being swept by another process") from None

    def _all(self, retry: bool) -> None:
        self.ledger.save()
        for number, words in enumerate(self.ledger.jobs):
            self.runs[number] = read_run(self.folder / str(number), str(number), words)
        done = [number for number, run in self.runs.items() if run.state in OVER]
        waiting = deque(n for n, run in self.runs.items() if run.state not in OVER or (retry and run.state == "failed"))
        print(f"sweep: {self.total} jobs, {len(done)} of them done; {display_path(self.folder)}", flush=True)
        self.started, self.seconds = time.monotonic(), []
        try:
            if isinstance(self.launcher, JobLauncher):
                self._one_by_one(waiting)
            else:
                self._in_batches(waiting)
        except (KeyboardInterrupt, CommandExit) as stop:
            self._close()
            for number in self.runs:
                self._read(number)
            write_tables(self._comparison(), self.folder)
            status = stop.status if isinstance(stop, CommandExit) else 130
            raise CommandExit(status, f"stopped; go on with: {self._again()}") from None
        finally:
            self._close()
        self._end()

    def _close(self) -> None:
        if isinstance(self.launcher, JobLauncher):
            self.launcher.close()

    def _again(self) -> str:
        return f"python -m src.train -m sweep.resume={shlex.quote(display_path(self.folder))}"

    def _next(self, waiting: deque[int]) -> int | None:
        if self.budget.spent():
            return None
        number = waiting.popleft() if waiting else self.extend()
        if number is not None:
            self.budget.begun += 1
            self.ledger.save()
        return number

    def _one_by_one(self, waiting: deque[int]) -> None:
        pending, self.began = {}, {}
        while True:
            while len(pending) < self.launcher.slots and (number := self._next(waiting)) is not None:
                self.began[number] = time.monotonic()
                try:
                    pending[self.launcher.submit(self._words(number), number)] = number
                except Exception as error:  # before the job had a folder and a log: it could not be composed
                    self._record(number, error)
            if not pending:
                break
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                self._record(pending.pop(future), _error_of(future.result()))

    def _in_batches(self, waiting: deque[int]) -> None:
        self.began = {}
        while True:
            numbers = []
            while (self.batch is None or len(numbers) < self.batch) and (number := self._next(waiting)) is not None:
                numbers.append(number)
                self.began[number] = time.monotonic()
            if not numbers:
                break
            for part in consecutive(numbers):  # such a launcher numbers jobs without gaps
                words = [self._words(number) for number in part]
                try:
                    results = self.launcher.launch(words, initial_job_idx=part[0])
                except RuntimeError as error:  # no srun, no partition: not the jobs' fault
                    name = self.config.hydra.runtime.choices["hydra/launcher"]
                    raise InputError(f"hydra/launcher={name} cannot start jobs: {error}") from None
                for number, result in zip(part, results, strict=True):
                    self._record(number, _error_of(result))

    def _words(self, number: int) -> list[str]:
        """A job's overrides; of one that was interrupted, with what it had saved to go on from."""
        folder, words = self.folder / str(number), list(self.ledger.jobs[number])
        last = folder / "checkpoints" / "last.ckpt"
        if last.is_file() and self.runs[number].state != "failed":
            from src.model_files.checkpoint import read_checkpoint

            try:
                read_checkpoint(last)
                return [*words, f"resume_from='{last}'"]
            except InputError:
                pass  # it was cut off while it was written on a disk that lost it: begin anew
        if folder.exists():
            shutil.rmtree(folder)
        return words

    def _read(self, number: int) -> None:
        self.runs[number] = read_run(self.folder / str(number), str(number), self.ledger.jobs[number])

    def _record(self, number: int, error: BaseException | None) -> None:
        self._read(number)
        run = self.runs[number]
        if error is not None and run.state != "failed":  # it could not say so itself
            run.state, run.error = "failed", error_line(error)
            run.seconds = time.monotonic() - self.began[number]
            run.folder.mkdir(parents=True, exist_ok=True)
            write_json(run.folder / "status.json", {"state": "failed", "seconds": run.seconds, "error": run.error})
        self.seconds.append(run.seconds or time.monotonic() - self.began[number])
        self.told(number)
        comparison = self._comparison()
        write_tables(comparison, self.folder)
        print(self._line(run, comparison), flush=True)

    def _comparison(self) -> Comparison:
        runs = [self.runs[number] for number in sorted(self.runs)]
        known = self.ordered_by and any(run.score(self.ordered_by) is not None for run in runs)
        return compare_runs(runs, self.ordered_by if known else None, self.beside)

    def _line(self, run: Run, comparison: Comparison) -> str:
        """What a job came to, the best so far, and how long the rest will take."""
        over = sum(each.state in OVER for each in self.runs.values())
        choices = " ".join(f"{key}={brief(run.given[key])}" for key in self.varied if key in run.given)
        metric, best = comparison.metric, comparison.ranked()[0]
        result = f"failed: {run.error}" if run.state == "failed" else f"{metric} {as_text(run.score(metric), metric)}"
        result += " (pruned)" if run.state == "pruned" else ""
        width = len(str(self.total))
        line = f"[{over:>{width}}/{self.total}] #{run.name} {choices}  {result}  {clock(self.seconds[-1])}"
        if best.score(metric) is not None:
            line += f" | best {as_text(best.score(metric), metric)} #{best.name}"
        left = self.total - over
        if left > 0:
            each = (time.monotonic() - self.started) / len(self.seconds)
            line += f" | {clock(each * left)} left"
        return line

    def _end(self) -> None:
        """Tables and pictures of everything, and an exit status that tells of failures."""
        comparison = self._comparison()
        write_tables(comparison, self.folder)
        if any(run.results for run in self.runs.values()):
            extra = write_sweep_report(comparison, self.folder, self.extras(), pictures=bool(self.config.figures))
            print(f"\n{sweep_summary(comparison)}\n")
            print("\n".join([f"everything is in {display_path(self.folder)}", *extra]))
        left = self.total - sum(run.state in OVER for run in self.runs.values())
        if left > 0 and self.budget.spent():
            print(f"{self.budget.spent()} is spent, {left} jobs are left; go on with: {self._again()}")
        failed = [run for run in self.runs.values() if run.state == "failed"]
        if failed:
            named = ", ".join(f"#{run.name}" for run in failed[:12])
            raise CommandExit(1, f"{len(failed)} of {self.total} jobs failed ({named}); the first: {failed[0].error}")

    def extras(self) -> dict:
        """More for the report, by name."""
        return {}


def _about_this_call(word: str) -> bool:
    return override_key(word) in CALL


def _error_of(result: JobReturn) -> BaseException | None:
    return result._return_value if result.status == JobStatus.FAILED else None
