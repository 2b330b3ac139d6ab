"""A search's study: where Optuna keeps it, how it judges a running trial, and what it says in the end."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from src.errors import InputError, require

if TYPE_CHECKING:
    import optuna

STUDY = "sweep"


def open_storage(name: str, folder: Path) -> "optuna.storages.BaseStorage":
    """sqlite or journal in `folder`, or a URL. Raises InputError for another word."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    if name == "journal":
        return optuna.storages.JournalStorage(JournalFileBackend(str(folder / "study.journal")))
    require(name == "sqlite" or "://" in name, f"hydra.sweeper.storage={name}: sqlite, journal or a URL")
    url = f"sqlite:///{folder / 'study.db'}" if name == "sqlite" else name
    options = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    return optuna.storages.RDBStorage(url, engine_kwargs=options)


def make_pruner(name: str, startup: int = 5, warmup: int = 1) -> "optuna.pruners.BasePruner":
    """One of PRUNERS; it judges an epoch's validation against that of other trials after as many epochs."""
    from optuna import pruners

    if name == "median":
        return pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=warmup + 1)
    if name == "halving":
        from src.sweep.halving_pruner import Halving

        return Halving(first=warmup + 1)
    if name == "hyperband":
        return pruners.HyperbandPruner(min_resource=warmup + 1)
    if name == "wilcoxon":
        return pruners.WilcoxonPruner(n_startup_steps=max(2, warmup + 1))
    return pruners.NopPruner()


def draw_again(study: "optuna.Study", trial: "optuna.Trial", key: str) -> None:
    """Draw a parameter that a trial already has, for nothing: a search that was killed between two parameters of it
    draws the next one from where the sampler's random numbers were."""
    if key not in trial.relative_params:
        frozen = study.get_trials(deepcopy=False)[trial.number]
        study.sampler.sample_independent(study, frozen, key, frozen.distributions[key])


def study_extras(study: "optuna.Study", objectives: list[str]) -> dict:
    """What a report shows: importance of each parameter (fANOVA, Hutter et al. 2014) and the Pareto front."""
    import optuna

    importance: dict[str, float] = {}
    if len(objectives) == 1:
        try:
            importance = dict(optuna.importance.get_param_importances(study))
        except (RuntimeError, ValueError):  # too few trials, or all alike
            importance = {}
    front = [str(trial.number) for trial in study.best_trials] if len(objectives) > 1 else []
    return {"importance": importance, "objectives": objectives if len(objectives) > 1 else (), "front": front}


def pruning_check() -> Callable[[int, float | None], bool] | None:
    """In a job of a search with a pruner: told epoch and value of each validation, says whether the job is hopeless.

    Without a value it says what it would have said after that epoch.
    """
    if not HydraConfig.initialized():
        return None
    cfg = HydraConfig.get()
    pruner = cfg.sweeper.get("pruner", "none")
    if cfg.mode == RunMode.RUN or pruner == "none":
        return None
    quiet()
    import optuna

    study = optuna.load_study(
        study_name=STUDY,
        storage=open_storage(cfg.sweeper.storage, Path(cfg.sweep.dir)),
        sampler=optuna.samplers.RandomSampler(0),
        pruner=make_pruner(pruner, cfg.sweeper.pruner_startup, cfg.sweeper.warmup),
    )
    trial = optuna.trial.Trial(study, study.get_trials(deepcopy=False)[int(cfg.job.num)]._trial_id)

    def hopeless(epoch: int, value: float | None) -> bool:
        told = study.get_trials(deepcopy=False)[trial.number].intermediate_values
        if value is None:
            return max(told, default=0) == epoch and bool(trial.should_prune())
        if epoch not in told:
            trial.report(value, epoch)
        return bool(trial.should_prune())

    return hopeless


def objectives() -> list[str]:
    """What the running job's search asks of it; nothing where it is no search."""
    if not HydraConfig.initialized() or HydraConfig.get().mode == RunMode.RUN:
        return []
    asked = HydraConfig.get().sweeper.get("objectives") or []
    return [asked] if isinstance(asked, str) else list(asked)


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def quiet() -> None:
    """Keep Optuna's notes about itself out of the way. Raises InputError where it is not installed."""
    try:
        import optuna
    except ImportError:
        raise InputError("hydra/sweeper=optuna needs Optuna: pip install -e '.[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", module="optuna")  # experimental features, spaces too small for an importance
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    logging.getLogger("sqlalchemy").setLevel(logging.ERROR)
