"""Search: Optuna chooses each job's values from the results so far. Hydra's sweeper `optuna`."""

import json
from typing import TYPE_CHECKING

from hydra.core.override_parser.types import Override
from omegaconf import ListConfig

from src.cli.config import to_plain
from src.errors import InputError, choice, integer, positive_int, require, text
from src.evaluation.monitor import monitor_mode
from src.sweep.ledger import flatten_space, read_params
from src.sweep.study import STUDY, SearchSummary, first_line, make_pruner, open_storage, repeat_draw, silence_optuna
from src.sweep.sweeper import DONE, JobSweeper

if TYPE_CHECKING:
    import optuna

SAMPLERS = ("tpe", "cmaes", "gp", "random", "grid")
PRUNERS = ("none", "median", "halving", "hyperband", "wilcoxon")
RUN_METRICS = ("parameters", "latency_ms", "seconds")


class OptunaSweeper(JobSweeper):
    """Search with Optuna; trial n is job n.

    conf/hydra/sweeper/optuna.yaml describes each argument; params are those of `read_space`, nested or under full keys.
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
        self.total_jobs = positive_int("hydra.sweeper.n_trials", n_trials)
        self.sampler = choice("hydra.sweeper.sampler", sampler, SAMPLERS)
        self.pruner = choice("hydra.sweeper.pruner", pruner, PRUNERS)
        names = [objectives] if isinstance(objectives, str) else objectives or []
        good = isinstance(names, list | tuple | ListConfig) and all(isinstance(name, str) for name in names)
        require(good, f"hydra.sweeper.objectives={objectives}: a metric as val/acc, a list of them, or null")
        self.objectives = list(names)
        self.storage = text("hydra.sweeper.storage", storage, "sqlite, journal or the URL of a database")
        self.params = flatten_space(read_params(params))
        self.seed = integer("hydra.sweeper.seed", seed, 0)
        self.batch_size = positive_int("hydra.sweeper.n_jobs", n_jobs)
        self.startup = positive_int("hydra.sweeper.startup", startup)
        self.pruner_startup = positive_int("hydra.sweeper.pruner_startup", pruner_startup)
        self.warmup = integer("hydra.sweeper.warmup", warmup, 0)

    def plan(self, overrides: list[Override]) -> None:
        """Read and check the space, open the study, and tell it the results of jobs that ended unrecorded."""
        silence_optuna()
        from optuna.trial import TrialState

        from src.sweep.space import grid_points, read_space

        self.space = read_space(self.params, overrides)
        self.swept_keys = [parameter.key for parameter in self.space]
        self.fixed_overrides = [word.input_line for word in overrides if not word.is_sweep_override()]
        self.fixed_values = dict(word.partition("=")[::2] for word in self.fixed_overrides)
        self._check_objectives()
        self._check_space()
        retry = self.config.sweep.retry_failed
        require(not retry, "sweep.retry_failed is for grids: a search continues with new trials")
        if self.sampler == "grid":
            self.points = grid_points(self.space, self.fixed_values)
            self.total_jobs = min(self.total_jobs, len(self.points))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.study = self._open_study()
        for trial in self.study.get_trials(deepcopy=False)[: len(self.ledger.jobs)]:
            if trial.state == TrialState.RUNNING:  # the sweep was killed before it could tell the study
                self._read_run(trial.number)
                if self.runs[trial.number].state in DONE:
                    self.on_job_end(trial.number)

    def _check_objectives(self) -> None:
        from src.evaluation.metrics import make_classification_metrics, make_regression_metrics
        from src.model_files.extra_metrics import declare_directions

        checkpoints = (self.config.get("callbacks") or {}).get("checkpoints")
        saved = self.config.trainer.enable_checkpointing is not False and checkpoints
        require(bool(saved), "without checkpoints no job reports a result: leave them on for a search")
        numbers = self.config.data.get("target") not in (None, "class")
        metrics = make_regression_metrics() if numbers else make_classification_metrics(10)
        added = to_plain(self.config.metrics)
        declare_directions(added)
        validation = [f"val/{name}" for name in (*metrics, *added, "loss")]
        if not self.objectives:
            monitor = checkpoints.get("monitor", "auto")
            self.objectives = [("val/mae" if numbers else "val/acc") if monitor == "auto" else monitor]
        self.metric, *self.extra_metrics = self.objectives
        key, known = "hydra.sweeper.objectives", [*validation, *RUN_METRICS]
        for name in self.objectives:
            require(not name.startswith("test/"), f"{key}: {name}; the test split chooses nothing, give a val/ metric")
            require(name in known, f"{key}: no job reports {name}; known: {', '.join(known)}")
        require(len({*self.objectives}) == len(self.objectives), f"{key}: one of them is listed twice")
        single = len(self.objectives) == 1
        if self.pruner != "none":
            fix = "give hydra.sweeper.pruner=none"
            can_prune = single and self.objectives[0] in validation
            require(can_prune, f"hydra.sweeper.pruner={self.pruner} needs one val/ objective: {fix}")
            strategy = str(self.config.trainer.strategy)
            require(not strategy.startswith(("ddp", "fsdp")), f"trainer.strategy={strategy} cannot be pruned: {fix}")
        require(single or self.sampler != "cmaes", "hydra.sweeper.sampler=cmaes has one objective: give tpe or gp")

    def _check_space(self) -> None:
        """Compose every choice and both ends of every range once: an unknown key fails before the first job."""
        first: dict[str, str] = {}
        for parameter in self.space:
            if parameter.is_active({**self.fixed_values, **first}):
                first[parameter.key] = parameter.extremes()[0]
        self.check_job(self._to_overrides(first))
        for parameter in self.space:
            values = self._active({**first, **{key: allowed[0] for key, allowed in parameter.conditions.items()}})
            for extreme in parameter.extremes():
                self.check_job(self._to_overrides(self._active({**values, parameter.key: extreme})))

    def _active(self, values: dict[str, str]) -> dict[str, str]:
        active = {parameter.key for parameter in self.space if parameter.is_active({**self.fixed_values, **values})}
        return {key: value for key, value in values.items() if key in active}

    def _to_overrides(self, values: dict[str, str]) -> list[str]:
        return [*self.fixed_overrides, *(f"{key}={value}" for key, value in values.items())]

    def _open_study(self) -> "optuna.Study":
        """Create the study or load it. Raises InputError if the storage cannot be used or is another search's."""
        import optuna

        directions = ["maximize" if monitor_mode(name) == "max" else "minimize" for name in self.objectives]
        pruner = make_pruner(self.pruner, self.pruner_startup, self.warmup)
        try:
            storage = open_storage(self.storage, self.folder)
            study = optuna.create_study(
                storage=storage, pruner=pruner, study_name=STUDY, directions=directions, load_if_exists=True
            )
        except InputError:
            raise
        except Exception as error:  # SQLAlchemy and Optuna raise many kinds for a storage they cannot use
            raise InputError(f"hydra.sweeper.storage={self.storage} cannot be used ({first_line(error)})") from None
        self._check_study(study)
        return study

    def _check_study(self, study: "optuna.Study") -> None:
        space = {parameter.key: [repr(parameter.distribution), parameter.conditions] for parameter in self.space}
        search = json.dumps({"space": space, "objectives": self.objectives}, sort_keys=True)
        recorded = study.user_attrs.get("about")
        if recorded is None:
            study.set_user_attr("about", search)
        other = f"the storage in {self.folder} belongs to another search space or other objectives"
        fix = "give those, or leave sweep.resume and hydra.sweeper.storage out"
        require(recorded in (None, search), f"{other}: {fix}")
        trials, jobs = len(study.get_trials(deepcopy=False)), len(self.ledger.jobs)
        lost = f"the study in {self.folder} has {trials} trials, the sweep {jobs} jobs"
        require(trials >= jobs, f"{lost}: restore its file, or start a new sweep; the runs are intact")
        foreign = f"hydra.sweeper.storage={self.storage} has trials of another sweep"
        require(trials <= jobs + 1, f"{foreign}: give another one, or sweep.resume")

    def add_job(self) -> int | None:
        """Ask for another trial: a function of the seed, its number and the results so far."""
        import optuna

        number = len(self.ledger.jobs)
        if number >= self.total_jobs:
            return None
        self.study.sampler = self._make_sampler(number)
        trials = self.study.get_trials(deepcopy=False)
        if number < len(trials) and trials[number].state == optuna.trial.TrialState.RUNNING:
            trial = optuna.trial.Trial(self.study, trials[number]._trial_id)  # created, but its job never started
        else:
            if self.sampler == "grid" and number >= len(trials):
                self.study.enqueue_trial(self.points[number])
            trial = self.study.ask()
        values, drawn = {}, set(trial.params)
        for parameter in self.space:
            if parameter.is_active({**self.fixed_values, **values}):
                if parameter.key in drawn:
                    repeat_draw(self.study, trial, parameter.key)
                values[parameter.key] = parameter.suggest(trial)
        self.ledger.append(self._to_overrides(values))
        return number

    def _make_sampler(self, number: int) -> "optuna.samplers.BaseSampler":
        # One per trial: its random numbers do not depend on how often the search was interrupted.
        from optuna import samplers

        from src.data.batches import derive_seed

        seed = derive_seed(self.seed, number) % 2**32
        if self.sampler in ("random", "grid"):
            return samplers.RandomSampler(seed=seed)
        if self.sampler == "tpe":
            return samplers.TPESampler(seed=seed, n_startup_trials=self.startup, constant_liar=True)
        sampler = samplers.CmaEsSampler if self.sampler == "cmaes" else samplers.GPSampler
        return sampler(seed=seed, n_startup_trials=self.startup)

    def on_job_end(self, number: int) -> None:
        """Tell the study the result of a job."""
        from optuna.trial import TrialState

        run = self.runs[number]
        values = [run.score(name) for name in self.objectives]
        if run.state == "finished" and None not in values:
            self.study.tell(number, values, skip_if_finished=True)
        else:
            state = TrialState.PRUNED if run.state == "pruned" else TrialState.FAIL
            self.study.tell(number, state=state, skip_if_finished=True)

    def search_summary(self) -> SearchSummary:
        """The importance of the parameters, or the Pareto front of several objectives."""
        import optuna

        if len(self.objectives) > 1:
            return SearchSummary({}, self.objectives, [str(trial.number) for trial in self.study.best_trials])
        try:
            return SearchSummary(optuna.importance.get_param_importances(self.study))
        except (RuntimeError, ValueError):  # too few trials, or all with the same result
            return SearchSummary({})
