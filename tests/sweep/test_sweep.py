"""Many runs: what is planned, read, compared and taken up again."""

import json
import statistics

import numpy as np
import pytest
import torch
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from src.cli.config import load_config
from src.data import cache
from src.data.batches import SeededBatchSampler
from src.data.source import Split
from src.errors import InputError
from src.sweep.ledger import Budget, Ledger, find_sweep, merge, seconds_of
from src.sweep.report import join_folds, write_experiment
from src.sweep.run_records import canonical, columns_of, find_runs, metric_of, read_run, split_words
from src.sweep.table import (
    compare_runs,
    configuration_rows,
    format_metric,
    markdown,
    run_rows,
    sweep_summary,
    write_tables,
)
from src.training.callbacks import PruningCallback


def make_run(folder, number, words, best=None, state="finished", choices=None, config=None, **results):
    """A run's folder as a job leaves it."""
    path = folder / str(number)
    (path / ".hydra").mkdir(parents=True)
    (path / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(words))
    hydra = {"hydra": {"runtime": {"choices": choices or {"model": "lenet", "data": "digits"}}}}
    (path / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(hydra))
    (path / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config or {"seed": 0, "optimizer": {"lr": 0.003}}))
    (path / "status.json").write_text(json.dumps({"state": state, "command": "train", "seconds": 2.0}))
    if best is not None:
        monitored = {"monitor": "val/acc", "best_score": best, "best_epoch": 2, "val": {"acc": best, "loss": 1 - best}}
        (path / "results.json").write_text(json.dumps({**monitored, "parameters": 10, **results}))
    return path


@pytest.fixture
def sweep(tmp_path):
    """Two configurations with two seeds each, one failure, one pruned trial, one run that has not begun."""
    for number, (lr, seed, best) in enumerate(
        [("1e-3", 0, 0.90), ("1e-3", 1, 0.92), ("3e-3", 0, 0.97), ("3e-3", 1, 0.95)]
    ):
        make_run(tmp_path, number, [f"optimizer.lr={lr}", f"seed={seed}"], best, test={"acc": best - 0.01})
    make_run(tmp_path, 4, ["optimizer.lr=1", "seed=0"], state="failed")
    make_run(tmp_path, 5, ["optimizer.lr=0.01", "seed=0"], 0.99, pruned=True)
    return tmp_path


def test_configurations_are_ordered_by_their_mean_over_seeds(sweep):
    comparison = compare_runs(find_runs([str(sweep)]))
    assert comparison.columns == ["optimizer.lr", "seed"]
    assert [each.values["optimizer.lr"] for each in comparison.configurations][:2] == ["0.003", "0.001"]
    best = comparison.best
    assert best.scores == [0.97, 0.95]
    assert best.mean == pytest.approx(0.96)
    assert best.sd == pytest.approx(statistics.stdev([0.97, 0.95]))


def test_pruned_and_failed_runs_are_shown_and_never_the_best(sweep):
    comparison = compare_runs(find_runs([str(sweep)]))
    states = {row[0]: row[3] for row in run_rows(comparison)[1:]}
    assert states == {"0": "finished", "1": "finished", "2": "finished", "3": "finished", "4": "failed", "5": "pruned"}
    assert comparison.best.values == {"optimizer.lr": "0.003"}
    assert "(1 failed)" in sweep_summary(comparison) and "(1 pruned)" in sweep_summary(comparison)


def test_the_test_figure_stands_beside_the_metric_and_orders_nothing(sweep):
    comparison = compare_runs(find_runs([str(sweep)]))
    assert comparison.figures == ["val/acc", "test/acc"]
    header, first, *_ = configuration_rows(comparison)
    assert header[:6] == ["optimizer.lr", "val/acc", "val/acc sd", "test/acc", "test/acc sd", "n"]
    assert float(first[3]) == pytest.approx(0.95)


def test_less_is_better_for_a_loss(sweep):
    comparison = compare_runs(find_runs([str(sweep)]), "val/loss")
    assert comparison.mode == "min"
    assert comparison.best.mean == pytest.approx(0.04)


def test_a_metric_that_no_run_has_is_refused_with_those_there_are(sweep):
    with pytest.raises(InputError, match="val/f1: no run has it; there are: test/acc, val/acc, val/loss"):
        compare_runs(find_runs([str(sweep)]), "val/f1")


def test_runs_chosen_by_different_metrics_need_one(tmp_path):
    make_run(tmp_path, 0, [], 0.9)
    make_run(tmp_path, 1, [], 0.1, monitor="val/loss")
    with pytest.raises(InputError, match="give metric="):
        metric_of(find_runs([str(tmp_path)]))


def test_what_was_not_typed_is_read_from_the_config(tmp_path):
    make_run(tmp_path, 0, ["model=cnn"], 0.9, choices={"model": "cnn"})
    make_run(tmp_path, 1, ["optimizer.lr=0.01"], 0.8)
    runs = find_runs([str(tmp_path)])
    assert columns_of(runs) == ["model", "optimizer.lr"]
    assert [run.value("optimizer.lr") for run in runs] == ["0.003", "0.01"]
    assert [run.value("model") for run in runs] == ["cnn", "lenet"]


def test_one_spelling_of_a_value():
    assert canonical("1e-3") == canonical("0.001") == canonical("'0.0010'")
    assert canonical("lenet") == "lenet"
    assert split_words(["+a=1", "hydra.run.dir=x", "sweep.max_jobs=2", "figures=false", "b=c=d"]) == {
        "a": "1",
        "b": "c=d",
    }


def test_a_folder_without_runs_says_so(tmp_path):
    with pytest.raises(InputError, match="no run in it"):
        find_runs([str(tmp_path)])
    with pytest.raises(InputError, match="is no folder"):
        find_runs([str(tmp_path / "missing")])


def test_evaluations_are_no_runs(sweep):
    path = make_run(sweep, "later", [], 0.99)
    (path / "status.json").write_text(json.dumps({"state": "finished", "command": "evaluate"}))
    assert "later" not in [run.name for run in find_runs([str(sweep)])]


def test_half_written_files_are_no_results(tmp_path):
    path = make_run(tmp_path, 0, ["seed=0"], 0.9)
    (path / "results.json").write_text('{"monitor": "val')
    (path / ".hydra" / "config.yaml").write_text("a: [")
    run = read_run(path, "0")
    assert run.score("val/acc") is None
    assert run.value("optimizer.lr") is None


def test_tables_are_files_too(sweep, tmp_path):
    write_tables(compare_runs(find_runs([str(sweep)])), tmp_path)
    assert len((tmp_path / "runs.csv").read_text().splitlines()) == 7
    assert len((tmp_path / "configurations.csv").read_text().splitlines()) == 5
    assert "| 0.003 |" in (tmp_path / "table.md").read_text()
    assert markdown([["a"], ["x|y"]]) == "| a |\n| --- |\n| x\\|y |\n"


def test_rates_are_shown_in_per_cent_and_counts_whole():
    assert format_metric(0.98765, "val/acc", 0.001) == "98.77 ± 0.10 %"
    assert format_metric(61706, "parameters") == "61,706"
    assert format_metric(None, "val/acc") == "–"


def test_pictures_of_runs(sweep, tmp_path):
    from src.sweep.figures import write_sweep_figures

    for number in range(6):
        (sweep / str(number) / "metrics.csv").write_text("epoch,val/acc\n1,0.5\n2,0.9\n")
    comparison = compare_runs(find_runs([str(sweep)]))
    made = write_sweep_figures(
        comparison, tmp_path / "p", {"optimizer.lr": 0.9, "seed": 0.1}, ["val/acc", "parameters"], ["2"]
    )
    assert set(made) == {"curves", "parameters", "importance", "pareto", "history"}
    assert all((tmp_path / "p" / f"{name}.png").stat().st_size > 5000 for name in made)


# The best one's experiment file


@pytest.mark.parametrize(
    "words",
    [
        ["model=cnn", "optimizer.lr=0.02", "augment=shift", "data=digits"],
        ["experiment=lenet", "model.dropout=0.1", "data=kmnist"],
        ["experiment=digits", "callbacks=[default,ema,early_stopping]", "callbacks.ema.decay=0.9"],
        ["optimizer=muon", "optimizer.betas=[0.8,0.9]", "loss=focal", "data.classes=[3,5]"],
    ],
)
def test_the_best_experiment_composes_to_the_same_config(words, tmp_path):
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from src.cli.config import CONF

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", words, return_hydra_config=True)
    choices = OmegaConf.to_container(cfg.hydra.runtime.choices)
    whole = OmegaConf.to_container(cfg, resolve=False)
    del whole["hydra"]
    make_run(tmp_path, 0, words, 0.9, choices=choices, config=whole)
    path = write_experiment(compare_runs(find_runs([str(tmp_path)])), tmp_path)
    assert path == tmp_path / "best" / "experiment" / "best.yaml"
    with initialize_config_dir(str(CONF), version_base="1.3"):
        again = compose("train", ["experiment=best", f"hydra.searchpath=[{path.parents[1]}]"])
    ours, theirs = whole, OmegaConf.to_container(again, resolve=False)
    assert {key: theirs[key] for key in ours if key not in ("run_name", "output_dir")} == {
        key: value for key, value in ours.items() if key not in ("run_name", "output_dir")
    }


def test_folds_are_joined_only_when_all_are_there(tmp_path):
    config = {"seed": 0, "data": {"folds": 2, "fold": None}}
    for fold in range(2):
        path = make_run(tmp_path, fold, [f"data.fold={fold}", "data.folds=2"], 0.9, config=config)
        index = np.array([3, 1]) if fold == 0 else np.array([0, 2])
        np.savez(path / "predictions.npz", index=index, labels=index % 2, logits=np.eye(2)[index % 2])
    runs = find_runs([str(tmp_path)])
    assert join_folds(runs[:1], tmp_path) is None
    with np.load(join_folds(runs, tmp_path)) as joined:
        assert joined["index"].tolist() == [0, 1, 2, 3]
        assert joined["fold"].tolist() == [1, 0, 1, 0]
        assert joined["logits"].argmax(1).tolist() == joined["labels"].tolist()


# Taking a sweep up again


def test_a_sweep_is_found_and_its_command_completed(tmp_path):
    Ledger(tmp_path, ["model=a,b", "trainer.max_epochs=2"], [["model=a"], ["model=b"]]).save()
    assert Ledger.read(tmp_path).jobs == [["model=a"], ["model=b"]]
    assert find_sweep(str(tmp_path)) == tmp_path
    with pytest.raises(InputError, match="there is no sweep"):
        find_sweep(str(tmp_path.parent))
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        Ledger.read(tmp_path)


def test_swept_values_may_grow_and_nothing_else_may_change():
    before = ["model=a,b", "trainer.max_epochs=2"]
    assert merge(before, ["model=a,b,c"]) == ["model=a,b,c", "trainer.max_epochs=2"]
    assert merge(before, ["hydra/launcher=joblib"])[-1] == "hydra/launcher=joblib"
    assert merge(before, before) == before
    for word in ("trainer.max_epochs=3", "optimizer.lr=1", "model=a"):
        with pytest.raises(InputError, match=word.partition("=")[0]):
            merge(before, [word])


def test_budgets():
    assert [seconds_of(given) for given in (None, 90, "90", "1:30", "0:01:30", "00:00:01:30")] == [None, *[90.0] * 5]
    for given in ("soon", -1, 0, "1:2:3:4:5", True):
        with pytest.raises(InputError, match=r"sweep\.max_time"):
            Budget(given)
    budget = Budget(max_jobs=1)
    assert budget.spent() == ""
    budget.begun += 1
    assert budget.spent() == "sweep.max_jobs"
    for given in (0, 1.5, "many", True):
        with pytest.raises(InputError, match=r"sweep\.max_jobs"):
            Budget(max_jobs=given)


def test_a_process_reads_a_split_once(monkeypatch):
    calls = []

    def read():
        calls.append(1)
        return Split(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))

    cache.cached("some data", "train", read)
    assert len(calls) == 1
    with cache.cache_enabled():
        first = cache.cached("some data", "train", read)
    cache.cached("some data", "train", read)  # outside, nothing is remembered
    with cache.cache_enabled():
        assert cache.cached("some data", "train", read) is first
        cache.cached("other data", "train", read)
    assert len(calls) == 4


@pytest.mark.parametrize("size", [20, 21, 23])
def test_processes_share_an_epoch(size):
    """Together they see what one process sees in a step, and each image once; the beginning fills up the end."""
    alone = torch.cat(list(SeededBatchSampler(size, 8, seed=3)))
    parts = [list(SeededBatchSampler(size, 4, seed=3, rank=rank, world=2)) for rank in range(2)]
    assert [len(part) for part in parts] == [len(parts[0])] * 2
    steps = [set(torch.cat(step).tolist()) for step in zip(*parts, strict=True)]
    assert steps[0] == set(alone[:8].tolist()) and steps[1] == set(alone[8:16].tolist())
    seen = torch.cat([torch.cat(part) for part in parts])
    assert set(seen.tolist()) == set(range(size))
    assert len(seen) == size + size % 2


# Searching


def space(params, *words):
    from src.sweep.space import read_space

    return read_space(params, OverridesParser.create().parse_overrides(list(words)))


def test_hydra_syntax_becomes_distributions():
    pytest.importorskip("optuna")
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    given = {
        "a": "interval(0, 1)", "b": "tag(log, interval(1e-4, 0.1))", "c": "int(interval(2, 8))", "d": "range(1, 10, 3)",
        "e": "choice(x, y)", "f": "range(0.0, 1.0, 0.25)", "g": "int(tag(log, interval(1, 64)))", "h": "true,false",
    }  # fmt: skip
    found = {parameter.key: parameter.distribution for parameter in space(given)}
    assert found == {
        "a": FloatDistribution(0, 1), "b": FloatDistribution(1e-4, 0.1, log=True), "c": IntDistribution(2, 8),
        "d": IntDistribution(1, 7, step=3), "e": CategoricalDistribution(("x", "y")),
        "f": FloatDistribution(0, 0.75, step=0.25), "g": IntDistribution(1, 64, log=True),
        "h": CategoricalDistribution(("True", "False")),
    }  # fmt: skip


def test_the_command_line_goes_before_the_space_of_a_file():
    pytest.importorskip("optuna")
    found = space({"a": "interval(0, 1)", "b": "interval(0, 1)", "c": "1,2"}, "a=interval(2, 3)", "b=0.5")
    assert {parameter.key for parameter in found} == {"a", "c"}
    assert next(parameter for parameter in found if parameter.key == "a").distribution.low == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"a": "interval(1, 0)"}, "first end must be below"),
        ({"a": "range(5, 1)"}, "from below to above"),
        ({"a": "tag(log, interval(0, 1))"}, "both ends are above 0"),
        ({"a": "interval(1"}, "cannot be read"),
        ({"a": "0.5"}, "one value only"),
        ({"a": "choice(x, x)"}, "the same value twice"),
        ({"a": {"space": "choice(x, y)", "when": {"b": "z"}}}, "hangs on b, which is not searched before it"),
        ({}, "nothing is searched"),
    ],
)
def test_spaces_that_cannot_be_searched(given, message):
    pytest.importorskip("optuna")
    with pytest.raises(InputError, match=message):
        space(given)


def test_a_grid_leaves_out_what_does_not_apply():
    pytest.importorskip("optuna")
    from src.sweep.space import grid_points

    given = {"o": "choice(a, b)", "m": {"space": "range(0, 3)", "when": {"o": "b"}}}
    assert grid_points(space(given)) == [{"o": "a"}, *({"o": "b", "m": place} for place in range(3))]
    with pytest.raises(InputError, match="endless values"):
        grid_points(space({"x": "interval(0, 1)"}))


@pytest.mark.parametrize("pruner", ["median", "halving"])
def test_a_pruner_says_the_same_again_after_an_interruption(tmp_path, monkeypatch, pruner):
    optuna = pytest.importorskip("optuna")
    from src.sweep import study as room

    monkeypatch.chdir(tmp_path)
    study = optuna.create_study(
        study_name=room.STUDY,
        storage=room.open_storage("sqlite", tmp_path),
        direction="maximize",
        pruner=room.make_pruner(pruner, 1, 1),
    )
    for values in ([0.5, 0.9, 0.95], [0.5, 0.9, 0.95]):
        trial = study.ask()
        for epoch, value in enumerate(values, 1):
            trial.report(value, epoch)
        study.tell(trial, values[-1])
    study.ask()
    sweeper = {"pruner": pruner, "storage": "sqlite", "pruner_startup": 1, "warmup": 1}
    cfg = OmegaConf.create({"sweeper": sweeper, "sweep": {"dir": str(tmp_path)}, "job": {"num": 2}, "mode": None})
    monkeypatch.setattr(room.HydraConfig, "initialized", lambda: True)
    monkeypatch.setattr(room.HydraConfig, "get", lambda: cfg)
    assert [room.pruning_check()(1, 0.1), room.pruning_check()(2, 0.2), room.pruning_check()(2, 0.2)] == [
        False,
        True,
        True,
    ]
    assert room.pruning_check()(2, None) is True
    assert room.pruning_check()(1, None) is False


@pytest.mark.parametrize("finished", [0, 12])
def test_a_trial_that_was_cut_between_two_parameters_gets_the_same_values(finished):
    optuna = pytest.importorskip("optuna")
    from src.sweep.study import draw_again

    names, given = ["a", "b", "c"], []
    for cut in (0, 1, 2, 3):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        for number in range(finished):
            trial = study.ask()
            study.tell(trial, sum(trial.suggest_float(name, 0, 1) for name in names) + number % 3)
        study.sampler = optuna.samplers.TPESampler(seed=5, n_startup_trials=10)
        trial = study.ask()
        for name in names[:cut]:
            trial.suggest_float(name, 0, 1)
        study.sampler = optuna.samplers.TPESampler(seed=5, n_startup_trials=10)  # of the process that goes on
        trial = optuna.trial.Trial(study, trial._trial_id)
        drawn = dict(trial.params)
        for name in names:
            if name in drawn:
                draw_again(study, trial, name)
            trial.suggest_float(name, 0, 1)
        given.append(trial.params)
    assert given[1:] == given[:1] * 3


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_halving_lets_the_better_part_go_on(direction):
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
    assert ended.pop(0.4) == 2, "the worse of two: one of two thirds at the first look, not in the better half"
    assert ended.pop(0.55) == 8, "second of three where a third goes on, and where two fifths do not yet leave it out"
    assert ended.pop(0.45) == 2, "fourth of five"
    assert len(ended) == 1 and ended.popitem()[1] == 1, "no number"


def test_a_resumed_run_asks_before_it_trains():
    asked = []

    def hopeless(epoch, value):
        asked.append((epoch, value))
        return True

    class Fake:
        current_epoch, should_stop = 3, False

    report, trainer = PruningCallback("val/acc", hopeless), Fake()
    report.on_train_start(trainer, None)
    assert asked == [(3, None)] and trainer.should_stop and report.pruned


def test_a_search_refuses_before_its_first_job(tmp_path):
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
        (["val/acc", "parameters"], "median", "judges by one val/ objective"),
        (["val/acc", "val/acc"], "none", "there twice"),
    ):
        sweeper = OptunaSweeper(objectives=objectives, pruner=pruner)
        sweeper.config = load_config(["data=digits"])
        with pytest.raises(InputError, match=message):
            sweeper._check_objectives()


# What fresh eyes found


def test_the_same_run_twice_is_no_repetition(tmp_path):
    for number in range(2):
        make_run(tmp_path, number, ["model=lenet", "seed=0"], 0.9)
    make_run(tmp_path, 2, ["model=cnn", "seed=0"], 0.8)
    best = compare_runs(find_runs([str(tmp_path)])).best
    assert best.scores == [0.9] and best.sd is None and len(best.runs) == 2


def test_long_numbers_stay_apart():
    from src.sweep.run_records import brief

    assert canonical("20240101") != canonical("20240102")
    assert canonical("0.1234567") != canonical("0.1234568")
    assert (brief("20240101"), brief("0.0121827123"), brief("lenet")) == ("20240101", "0.0121827", "lenet")


def test_what_may_change_makes_no_other_job():
    from src.sweep.ledger import identity

    assert identity(["seed=0", "figures=false"]) == identity(["figures=true", "seed=0"]) != identity(["seed=1"])


def test_a_folder_with_something_where_jobs_would_be_is_refused(tmp_path):
    from src.sweep.ledger import open_ledger

    (tmp_path / "0").mkdir()
    with pytest.raises(InputError, match="is no sweep, and has 0 in it"):
        open_ledger(tmp_path, ["seed=0,1"], [])
    (tmp_path / "0").rmdir()
    open_ledger(tmp_path, ["seed=0,1"], []).save()
    with pytest.raises(InputError, match="model was not given"):
        open_ledger(tmp_path, ["seed=0,1", "model=cnn"], [])


def test_more_config_files_are_remembered(tmp_path):
    from src.sweep.ledger import config_flags, flat

    assert config_flags(["-m", "--config-dir", str(tmp_path), "a=1"]) == ["--config-dir", str(tmp_path)]
    Ledger(tmp_path, [], [], ["--config-dir", "x"]).save()
    assert Ledger.read(tmp_path).flags == ["--config-dir", "x"]
    assert flat({"a": {"b": "x", "c": {"space": "y"}}}) == {"a.b": "x", "a.c": {"space": "y"}}


def test_a_grid_knows_what_is_fixed():
    pytest.importorskip("optuna")
    from src.sweep.space import grid_points

    given = {"m": {"space": "range(0, 3)", "when": {"o": "b"}}}
    found = space(given, "o=b")
    assert grid_points(found, {"o": "b"}) == [{"m": place} for place in range(3)]


@pytest.mark.parametrize("text", ["tag(lgo, interval(1, 2))", "tag(log, choice(a, b))", "tag(log, range(1, 5))"])
def test_tags_that_mean_nothing_are_refused(text):
    pytest.importorskip("optuna")
    with pytest.raises(InputError, match="tag"):
        space({"a": text})
