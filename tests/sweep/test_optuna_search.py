"""Searches with Optuna: pruning, resuming, and options that are refused."""

import pytest
from omegaconf import OmegaConf

from src.cli.config import load_config
from src.errors import InputError


@pytest.mark.parametrize("pruner", ["median", "halving"])
def test_a_pruner_repeats_its_decision_after_an_interruption(tmp_path, monkeypatch, pruner):
    optuna = pytest.importorskip("optuna")
    from src.sweep import study as studies

    monkeypatch.chdir(tmp_path)
    study = optuna.create_study(
        study_name=studies.STUDY,
        storage=studies.open_storage("sqlite", tmp_path),
        direction="maximize",
        pruner=studies.make_pruner(pruner, 1, 1),
    )
    for values in ([0.5, 0.9, 0.95], [0.5, 0.9, 0.95]):
        trial = study.ask()
        for epoch, value in enumerate(values, 1):
            trial.report(value, epoch)
        study.tell(trial, values[-1])
    study.ask()
    sweeper = {"pruner": pruner, "storage": "sqlite", "pruner_startup": 1, "warmup": 1}
    cfg = OmegaConf.create({"sweeper": sweeper, "sweep": {"dir": str(tmp_path)}, "job": {"num": 2}, "mode": None})
    monkeypatch.setattr(studies.HydraConfig, "initialized", lambda: True)
    monkeypatch.setattr(studies.HydraConfig, "get", lambda: cfg)
    assert [studies.pruning_check()(1, 0.1), studies.pruning_check()(2, 0.2), studies.pruning_check()(2, 0.2)] == [
        False,
        True,
        True,
    ]
    assert studies.pruning_check()(2, None) is True
    assert studies.pruning_check()(1, None) is False


@pytest.mark.parametrize("finished", [0, 12])
def test_a_trial_killed_between_two_parameters_gets_the_same_values(finished):
    optuna = pytest.importorskip("optuna")
    from src.sweep.study import repeat_draw

    names, drawn_params = ["a", "b", "c"], []
    for cut in (0, 1, 2, 3):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        for number in range(finished):
            trial = study.ask()
            study.tell(trial, sum(trial.suggest_float(name, 0, 1) for name in names) + number % 3)
        study.sampler = optuna.samplers.TPESampler(seed=5, n_startup_trials=10)
        trial = study.ask()
        for name in names[:cut]:
            trial.suggest_float(name, 0, 1)
        study.sampler = optuna.samplers.TPESampler(seed=5, n_startup_trials=10)  # of the process that resumes
        trial = optuna.trial.Trial(study, trial._trial_id)
        drawn = dict(trial.params)
        for name in names:
            if name in drawn:
                repeat_draw(study, trial, name)
            trial.suggest_float(name, 0, 1)
        drawn_params.append(trial.params)
    assert drawn_params[1:] == drawn_params[:1] * 3


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_halving_lets_the_better_share_continue(direction):
    optuna = pytest.importorskip("optuna")
    from src.sweep.study import make_pruner

    sign = 1 if direction == "maximize" else -1
    study = optuna.create_study(direction=direction, pruner=make_pruner("halving", warmup=0))
    ended = {}
    for value in (0.5, 0.4, 0.6, 0.55, 0.45, 0.7, float("nan")):
        trial = study.ask()
        for epoch in range(1, 9):
            trial.report(sign * value, epoch)
            if trial.should_prune():
                assert trial.should_prune(), "asked again"
                ended[value] = epoch
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, sign * value)
    assert ended.pop(0.4) == 2, (
        "second of two: pruned at rung 2, where half continue, not at rung 1, where two thirds do"
    )
    assert ended.pop(0.55) == 8, (
        "second of three: pruned at rung 4, where a third continue, not at rung 3, where two fifths do"
    )
    assert ended.pop(0.45) == 2, "fourth of five"
    assert len(ended) == 1 and ended.popitem()[1] == 1, "NaN"


def test_options_of_a_search_are_refused_before_its_first_job(tmp_path):
    pytest.importorskip("optuna")
    from src.sweep.optuna_sweeper import OptunaSweeper

    for options, message in (
        ({"sampler": "best"}, "sampler=best: one of tpe"),
        ({"pruner": "axe"}, "pruner=axe: one of none"),
        ({"n_trials": 0}, "n_trials=0"),
    ):
        with pytest.raises(InputError, match=message):
            OptunaSweeper(**options)
    for objectives, pruner, message in (
        (["val/beauty"], "none", "no job reports val/beauty"),
        (["test/acc"], "none", "the test split chooses nothing"),
        (["val/acc", "parameters"], "median", "needs one val/ objective"),
        (["val/acc", "val/acc"], "none", "listed twice"),
    ):
        sweeper = OptunaSweeper(objectives=objectives, pruner=pruner)
        sweeper.config = load_config(["data=digits"])
        with pytest.raises(InputError, match=message):
            sweeper._check_objectives()
