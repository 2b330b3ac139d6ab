"""A search's Optuna study: its storage, its pruner, the pruning check in a job, and its summary."""

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from src.errors import InputError, require

if TYPE_CHECKING:
    import optuna

STUDY = "sweep"


@dataclass
class SearchSummary:
    """What a search adds to a report.

    importance: each parameter's share of the variation (fANOVA, Hutter et al. 2014); empty with several objectives.
    objectives: two or more metrics searched together, else empty. pareto_front: names of the runs that no run beats in
    all of them.
    """

    importance: dict[str, float]
    objectives: Sequence[str] = ()
    pareto_front: Sequence[str] = ()


def open_storage(name: str, folder: Path) -> "optuna.storages.BaseStorage":
    """sqlite or journal for a file in `folder`, or a database URL. Raises InputError for anything else."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    if name == "journal":
        return optuna.storages.JournalStorage(JournalFileBackend(str(folder / "study.journal")))
    require(name == "sqlite" or "://" in name, f"hydra.sweeper.storage={name}: sqlite, journal or a URL")
    url = f"sqlite:///{folder / 'study.db'}" if name == "sqlite" else name
    options = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    return optuna.storages.RDBStorage(url, engine_kwargs=options)


def make_pruner(name: str, startup: int = 5, warmup: int = 1) -> "optuna.pruners.BasePruner":
    """One of PRUNERS. It compares a trial's validation metric with that of other trials at the same epoch."""
    from optuna import pruners

    if name == "median":
        return pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=warmup + 1)
    if name == "halving":
        from src.sweep.halving_pruner import HalvingPruner

        return HalvingPruner(min_resource=warmup + 1)
    if name == "hyperband":
        return pruners.HyperbandPruner(min_resource=warmup + 1)
    if name == "wilcoxon":
        return pruners.WilcoxonPruner(n_startup_steps=max(2, warmup + 1))
    return pruners.NopPruner()


def repeat_draw(study: "optuna.Study", trial: "optuna.Trial", key: str) -> None:
    """Draw a parameter that a trial already has, and discard it.

    This moves the sampler's random numbers to where they were when the search was killed between two parameters.
    """
    if key not in trial.relative_params:
        frozen = study.get_trials(deepcopy=False)[trial.number]
        study.sampler.sample_independent(study, frozen, key, frozen.distributions[key])


def pruning_check() -> Callable[[int, float | None], bool] | None:
    """In a job of a search with a pruner: should_prune(epoch, value), which reports the value and asks the pruner.

    With None for the value it repeats the decision after that epoch. None outside such a job.
    """
    if not HydraConfig.initialized():
        return None
    cfg = HydraConfig.get()
    pruner = cfg.sweeper.get("pruner", "none")
    if cfg.mode == RunMode.RUN or pruner == "none":
        return None
    silence_optuna()
    import optuna

    study = optuna.load_study(
        study_name=STUDY,
        storage=open_storage(cfg.sweeper.storage, Path(cfg.sweep.dir)),
        sampler=optuna.samplers.RandomSampler(0),
        pruner=make_pruner(pruner, cfg.sweeper.pruner_startup, cfg.sweeper.warmup),
    )
    trial = optuna.trial.Trial(study, study.get_trials(deepcopy=False)[int(cfg.job.num)]._trial_id)

    def should_prune(epoch: int, value: float | None) -> bool:
        reported = study.get_trials(deepcopy=False)[trial.number].intermediate_values
        if value is None:
            return max(reported, default=0) == epoch and bool(trial.should_prune())
        if epoch not in reported:
            trial.report(value, epoch)
        return bool(trial.should_prune())

    return should_prune


def search_objectives() -> list[str]:
    """The objectives that the running job's sweeper configures; empty if it has none."""
    if not HydraConfig.initialized() or HydraConfig.get().mode == RunMode.RUN:
        return []
    objectives = HydraConfig.get().sweeper.get("objectives") or []
    return [objectives] if isinstance(objectives, str) else list(objectives)


def first_line(error: BaseException) -> str:
    """The first line of an error's message that is not blank, or the name of its class."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def silence_optuna() -> None:
    """Silence Optuna's and SQLAlchemy's notes about themselves. Raises InputError if Optuna is not installed."""
    try:
        import optuna
    except ImportError:
        raise InputError("hydra/sweeper=optuna needs Optuna: pip install -e '.[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", module="optuna")  # experimental features, spaces too small for an importance
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    logging.getLogger("sqlalchemy").setLevel(logging.ERROR)
