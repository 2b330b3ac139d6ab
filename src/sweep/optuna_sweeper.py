"""A search: Optuna says what the next job is given, from what the ones before came to. Hydra's sweeper `optuna`."""

import json
from typing import TYPE_CHECKING

from hydra.core.override_parser.types import Override

from src.errors import InputError, is_integer, require
from src.evaluation.monitor import monitor_mode
from src.sweep.ledger import flat
from src.sweep.study import STUDY, draw_again, first_line, make_pruner, open_storage, quiet, study_extras
from src.sweep.sweeper import JobSweeper

if TYPE_CHECKING:
    import optuna

SAMPLERS = ("tpe", "cmaes", "gp", "random", "grid")
PRUNERS = ("none", "median", "halving", "hyperband", "wilcoxon")
OF_THE_RUN = ("parameters", "latency_ms", "seconds")


class OptunaSweeper(JobSweeper):
    """Search with Optuna; trial n is job n.

    n_trials: jobs in all, those of an earlier call counted. sampler: tpe, cmaes, gp, random or grid. pruner: none;
    median, halving, hyperband or wilcoxon stop a trial whose validation after an epoch is hopeless. objectives: figures
    of a run that are searched; None for the metric that its best epoch is chosen by. storage: sqlite or journal, a file
    in the sweep's folder, or a URL of SQLAlchemy's. seed: with a trial's number and the results before it, determines
    what it is given. n_jobs: trials at once where the launcher takes jobs in batches. params: the space, see
    `read_space`.
    startup: random trials before a sampler learns from results; pruner_startup: finished trials before the median
    judges. warmup: epochs of each trial before a pruner judges it.
    """

    def __init__(
        self,
        n_trials: int = 20,
        sampler: str = "tpe",
        pruner: str = "none",
        objectives: list[str] | str | None = None,
        storage: str = "sqlite",
        seed: int = 0,
        n_jobs: int = 1,
        params: dict[str, object] | None = None,
        startup: int = 10,
        pruner_startup: int = 5,
        warmup: int = 1,
    ):
        for key, value in (
            ("n_trials", n_trials),
            ("n_jobs", n_jobs),
            ("startup", startup),
            ("pruner_startup", pruner_startup),
        ):
            require(is_integer(value) and value >= 1, f"hydra.sweeper.{key}={value}: at least 1")
        for key, value in (("seed", seed), ("warmup", warmup)):
            require(is_integer(value) and value >= 0, f"hydra.sweeper.{key}={value}: a whole number, 0 or more")
        require(sampler in SAMPLERS, f"hydra.sweeper.sampler={sampler}: one of {', '.join(SAMPLERS)}")
        require(pruner in PRUNERS, f"hydra.sweeper.pruner={pruner}: one of {', '.join(PRUNERS)}")
        self.total, self.sampler, self.pruner, self.seed = n_trials, sampler, pruner, seed
        self.objectives = [objectives] if isinstance(objectives, str) else list(objectives or [])
        self.storage, self.batch, self.params = storage, n_jobs, flat(params or {})
        self.startup, self.pruner_startup, self.warmup = startup, pruner_startup, warmup

    def plan(self, overrides: list[Override]) -> None:
        """Read the space, compose its corners, and open the study."""
        quiet()
        from src.sweep.space import grid_points, read_space

        self.space = read_space(self.params, overrides)
        self.varied = [parameter.key for parameter in self.space]
        self.fixed = [word.input_line for word in overrides if not word.is_sweep_override()]
        self._check_objectives()
        self._check_corners()
        require(not self.config.sweep.retry_failed, "sweep.retry_failed is for grids: a search goes on with new trials")
        if self.sampler == "grid":
            self.points = grid_points(self.space, self._fixed_values())
            self.total = min(self.total, len(self.points))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.study = self._open()
        from optuna.trial import TrialState

        for trial in self.study.get_trials(deepcopy=False)[: len(self.ledger.jobs)]:
            if trial.state == TrialState.RUNNING:  # the sweep ended before it could say what the job came to
                self._read(trial.number)
                if self.runs[trial.number].state in ("finished", "pruned", "failed"):
                    self.told(trial.number)

    def _check_objectives(self) -> None:
        from src.evaluation.metrics import make_classification_metrics, make_regression_metrics

        checkpoints = (self.config.get("callbacks") or {}).get("checkpoints")
        saved = self.config.trainer.enable_checkpointing is not False and checkpoints
        require(bool(saved), "without checkpoints no job reports a result: leave them on for a search")
        numbers = self.config.data.get("target") not in (None, "class")
        metrics = make_regression_metrics() if numbers else make_classification_metrics(10)
        known = [f"val/{name}" for name in (*metrics, "loss")]
        monitor = checkpoints.get("monitor", "auto")
        default = ("val/mae" if numbers else "val/acc") if monitor == "auto" else monitor
        self.objectives = self.objectives or [default]
        self.ordered_by, self.beside = self.objectives[0], self.objectives[1:]
        for name in self.objectives:
            require(not name.startswith("test/"), f"hydra.sweeper.objectives: {name}; the test split chooses nothing")
            listed = [*known, *OF_THE_RUN]
            require(name in listed, f"hydra.sweeper.objectives: no job reports {name}; known: {', '.join(listed)}")
        require(
            len(set(self.objectives)) == len(self.objectives), "hydra.sweeper.objectives: one of them is there twice"
        )
        if self.pruner != "none":
            judged, fix = len(self.objectives) == 1 and self.objectives[0] in known, "give hydra.sweeper.pruner=none"
            require(judged, f"hydra.sweeper.pruner={self.pruner} judges by one val/ objective: {fix}")
            strategy = str(self.config.trainer.strategy)
            require(not strategy.startswith(("ddp", "fsdp")), f"trainer.strategy={strategy} cannot be pruned: {fix}")
        alone = len(self.objectives) == 1 or self.sampler != "cmaes"
        require(alone, "hydra.sweeper.sampler=cmaes has one objective: give tpe or gp")

    def _check_corners(self) -> None:
        """Compose every choice and both ends of every range once: an unknown key is told before the first job."""
        first: dict[str, str] = {}
        fixed = self._fixed_values()
        for parameter in self.space:
            if parameter.applies({**fixed, **first}):
                first[parameter.key] = parameter.corners()[0]
        self.check([*self.fixed, *(f"{key}={value}" for key, value in first.items())])
        for parameter in self.space:
            beside = {**first, **{key: allowed[0] for key, allowed in parameter.when.items()}}
            beside = {key: value for key, value in beside.items() if self._of(key, beside)}
            for corner in parameter.corners():
                values = {**beside, parameter.key: corner}
                kept = {key: value for key, value in values.items() if self._of(key, values)}
                self.check([*self.fixed, *(f"{key}={value}" for key, value in kept.items())])

    def _of(self, key: str, values: dict[str, str]) -> bool:
        """Whether a parameter exists beside these values."""
        return next(
            (parameter.applies({**self._fixed_values(), **values}) for parameter in self.space if parameter.key == key),
            False,
        )

    def _open(self) -> "optuna.Study":
        import optuna

        space = {p.key: [repr(p.distribution), {k: list(v) for k, v in p.when.items()}] for p in self.space}
        about = json.dumps({"space": space, "objectives": self.objectives}, sort_keys=True)
        directions = ["maximize" if monitor_mode(name) == "max" else "minimize" for name in self.objectives]
        try:
            study = optuna.create_study(
                study_name=STUDY,
                storage=open_storage(self.storage, self.folder),
                directions=directions,
                pruner=make_pruner(self.pruner, self.pruner_startup, self.warmup),
                load_if_exists=True,
            )
        except InputError:
            raise
        except Exception as error:  # SQLAlchemy and Optuna raise many kinds for a storage they cannot use
            raise InputError(f"hydra.sweeper.storage={self.storage} cannot be used ({first_line(error)})") from None
        known = study.user_attrs.get("about")
        if known is None:
            study.set_user_attr("about", about)
        elif known != about:
            raise InputError(
                f"the storage in {self.folder} was made by another search space or other objectives: "
                "give the space it was made with, or leave sweep.resume and hydra.sweeper.storage out"
            )
        trials, jobs = len(study.get_trials(deepcopy=False)), len(self.ledger.jobs)
        lost = f"the study in {self.folder} has {trials} trials, the sweep {jobs} jobs"
        require(trials >= jobs, f"{lost}: put its file back, or start a new sweep; the runs are still there")
        require(
            trials <= jobs + 1,
            f"hydra.sweeper.storage={self.storage} has trials of another sweep: give another one, or sweep.resume",
        )
        return study

    def extend(self) -> int | None:
        """Ask for one more trial: a function of the seed, its number and the results so far."""
        import optuna

        number = len(self.ledger.jobs)
        if number >= self.total:
            return None
        self.study.sampler = self._make_sampler(number)
        trials = self.study.get_trials(deepcopy=False)
        if number < len(trials) and trials[number].state == optuna.trial.TrialState.RUNNING:
            trial = optuna.trial.Trial(self.study, trials[number]._trial_id)  # asked for, and never begun
        else:
            if self.sampler == "grid" and number >= len(trials):
                self.study.enqueue_trial(self.points[number])
            trial = self.study.ask()
        values: dict[str, str] = {}
        drawn = dict(trial.params)
        for parameter in self.space:
            if parameter.applies({**self._fixed_values(), **values}):
                if parameter.key in drawn:
                    draw_again(self.study, trial, parameter.key)
                values[parameter.key] = parameter.ask(trial)
        self.ledger.jobs.append([*self.fixed, *(f"{key}={value}" for key, value in values.items())])
        return number

    def _fixed_values(self) -> dict[str, str]:
        return {word.partition("=")[0]: word.partition("=")[2] for word in self.fixed}

    def _make_sampler(self, number: int) -> "optuna.samplers.BaseSampler":
        # One per trial: its random numbers do not depend on how often the search was interrupted.
        from optuna import samplers

        from src.data.batches import derive_seed

        seed = derive_seed(self.seed, number) % 2**32
        if self.sampler == "tpe":
            return samplers.TPESampler(seed=seed, n_startup_trials=self.startup, constant_liar=True)
        if self.sampler == "cmaes":
            return samplers.CmaEsSampler(seed=seed, n_startup_trials=self.startup)
        if self.sampler == "gp":
            return samplers.GPSampler(seed=seed, n_startup_trials=self.startup)
        return samplers.RandomSampler(seed=seed)

    def told(self, number: int) -> None:
        """Hand a job's result to the study."""
        from optuna.trial import TrialState

        run = self.runs[number]
        values = [run.score(name) for name in self.objectives]
        if run.state == "pruned":
            self.study.tell(number, state=TrialState.PRUNED, skip_if_finished=True)
        elif run.state == "finished" and None not in values:
            self.study.tell(number, values, skip_if_finished=True)
        else:
            self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def extras(self) -> dict:
        """Importance of each parameter, and the Pareto front."""
        return study_extras(self.study, self.objectives)
