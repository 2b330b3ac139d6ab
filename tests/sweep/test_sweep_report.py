"""Figures, the best experiment and out-of-fold predictions of many runs."""

import csv
import logging
import math

import numpy as np
import pytest
from omegaconf import OmegaConf

from src.sweep.comparison import compare_runs
from src.sweep.report import join_folds, write_best_experiment
from src.sweep.run_records import find_runs
from src.sweep.study import SearchSummary
from tests.run_folders import make_run


def test_figures_of_a_search_with_several_objectives(sweep, tmp_path, caplog):
    from src.sweep.figures import write_sweep_figures

    for number in range(6):
        (sweep / str(number) / "metrics.csv").write_text("epoch,val/acc\n1,0.5\n2,0.9\n")
    comparison = compare_runs(find_runs([str(sweep)]))
    search = SearchSummary({"optimizer.lr": 0.9, "seed": 0.1}, ["val/acc", "parameters"], ["2"])
    with caplog.at_level(logging.INFO):
        names = write_sweep_figures(comparison, tmp_path / "p", search)
    assert caplog.messages == [], "the terminal shows what is logged"
    assert set(names) == {"curves", "parameters", "importance", "pareto", "history"}
    assert all((tmp_path / "p" / f"{name}.png").stat().st_size > 5000 for name in names)
    assert all((tmp_path / "p" / f"{name}.pdf").read_bytes().startswith(b"%PDF") for name in names)


def write_curves(folder, curves):
    """Runs of model=a,b with seeds, whose val/acc by epoch these are; the last is the best epoch's."""
    for number, (model, seed, values) in enumerate(curves):
        path = make_run(folder, number, [f"model={model}", f"seed={seed}"], values[-1])
        rows = "".join(f"{epoch},{value}\n" for epoch, value in enumerate(values, 1))
        (path / "metrics.csv").write_text(f"epoch,val/acc\n{rows}")
    return compare_runs(find_runs([str(folder)]))


def test_the_curve_of_a_configuration_is_the_mean_of_its_seeds_with_a_band(tmp_path):
    from src.sweep.learning_curves import learning_curves, plot_learning_curves

    runs = [("a", 0, [0.5, 0.7, 0.8]), ("a", 1, [0.3, 0.5]), ("b$", 0, [0.4, 0.9])]
    comparison = write_curves(tmp_path, runs)
    best, other = learning_curves(comparison)
    assert (best.name, best.sd) == ("model=b$: 90.00 %", None)
    assert other.name.startswith("model=a (n=2): 65.00 ± 21.21 %")
    assert other.epochs.tolist() == [1, 2], "up to the epoch that all of its runs reached"
    assert other.mean.tolist() == pytest.approx([0.4, 0.6]) and other.sd.tolist() == pytest.approx([0.2 / 2**0.5] * 2)
    figure = plot_learning_curves(comparison)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [r"model=b\$: 90.00 %", other.name]
    axes = figure.axes[0]
    assert len(axes.collections) == 1, "a band for the configuration with two seeds"
    assert axes.lines[0].get_ydata().tolist() == pytest.approx([40, 60])
    assert axes.collections[0].get_paths()[0].vertices[:, 1].max() == pytest.approx(100 * (0.6 + 0.2 / 2**0.5))


def test_beyond_ten_configurations_only_the_best_are_named(tmp_path):
    from src.sweep.learning_curves import plot_learning_curves

    figure = plot_learning_curves(write_curves(tmp_path, [(f"m{n}", 0, [0.1, 0.9 - n / 100]) for n in range(14)]))
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(names) == 10 and names[0].startswith("model=m0:") and len(figure.axes[0].lines) == 14


def test_the_metric_against_the_amount_of_data_is_a_line_in_its_order(tmp_path):
    from src.sweep.figures import plot_parameters

    for number, (shots, best) in enumerate([("20", 0.9), ("1", 0.5), ("5", 0.8), ("1", 0.3)]):
        make_run(tmp_path, number, [f"data.shots={shots}", f"seed={number}"], best)
    runs = find_runs([str(tmp_path)])
    figure = plot_parameters(runs, ["data.shots"], "val/acc", {run.name: (0, 0, 0, 1) for run in runs})
    (line,) = figure.axes[0].lines
    assert line.get_xdata().tolist() == [1, 5, 20]
    assert line.get_ydata().tolist() == pytest.approx([40, 80, 90])
    assert figure.axes[0].get_xscale() == "log"
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["1", "5", "20"]


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
    path = write_best_experiment(compare_runs(find_runs([str(tmp_path)])), tmp_path)
    assert path == tmp_path / "best" / "experiment" / "best.yaml"
    with initialize_config_dir(str(CONF), version_base="1.3"):
        again = compose("train", ["experiment=best", f"hydra.searchpath=[{path.parents[1]}]"])
    ours, theirs = whole, OmegaConf.to_container(again, resolve=False)
    assert {key: theirs[key] for key in ours if key not in ("run_name", "output_dir")} == {
        key: value for key, value in ours.items() if key not in ("run_name", "output_dir")
    }


def test_folds_are_joined_only_if_all_are_there(tmp_path):
    config = {"seed": 0, "data": {"folds": 2, "fold": None}}
    for fold in range(2):
        path = make_run(tmp_path, fold, [f"data.fold={fold}", "data.folds=2"], 0.9, config=config)
        index = np.array([3, 1]) if fold == 0 else np.array([0, 2])
        arrays = {"index": index, "labels": index % 2, "logits": np.eye(2)[[1, 1] if fold == 0 else [0, 0]]}
        np.savez(path / "predictions.npz", **arrays, class_names=np.array(["cat", '<b>,"狗"']))
    runs = find_runs([str(tmp_path)])
    assert join_folds(runs[:1], tmp_path) is None
    with np.load(join_folds(runs, tmp_path)) as joined:
        assert joined["index"].tolist() == [0, 1, 2, 3]
        assert joined["fold"].tolist() == [1, 0, 1, 0]
        assert joined["logits"].argmax(1).tolist() == joined["labels"].tolist()
    with (tmp_path / "out_of_fold.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["index", "truth", "answer", "probability", "fold", "run"]
    assert [row["truth"] for row in rows] == [row["answer"] for row in rows] == ["cat", '<b>,"狗"'] * 2
    assert {row["probability"] for row in rows} == {f"{1 / (1 + math.exp(-1)):.6f}"}
    assert [(row["index"], row["fold"]) for row in rows] == [("0", "1"), ("1", "0"), ("2", "1"), ("3", "0")]


def test_cross_validations_of_other_classes_are_not_joined(tmp_path, caplog):
    for number, (classes, fold) in enumerate(((2, 0), (2, 1), (3, 0), (3, 1))):
        config = {"data": {"folds": 2, "fold": None, "name": f"of {classes}"}}
        words = [f"data.fold={fold}", "data.folds=2", f"data.name=of{classes}"]
        path = make_run(tmp_path, number, words, 0.9, config=config)
        arrays = {"index": np.array([fold]), "labels": np.array([0]), "logits": np.eye(classes)[:1]}
        np.savez(path / "predictions.npz", **arrays, files=np.array([f"{fold}.png"]))
    with np.load(join_folds(find_runs([str(tmp_path)]), tmp_path)) as joined:
        assert joined["logits"].shape == (2, 2)
    assert "cross-validations of other classes are left out: 1" in caplog.text
    lines = (tmp_path / "out_of_fold.csv").read_text().splitlines()
    assert lines[1].startswith("0.png,0,0,"), "classes without names are numbers"


def make_tasks(folder, rows):
    """Runs of continual=a,b with seeds, with a test matrix each."""
    for number, (method, seed, matrix) in enumerate(rows):
        known = [value for value in matrix[-1] if value is not None]
        test = {"acc": 0.5, "task_average": sum(known) / len(known), "forgetting": 0.1}
        tasks = {"test": {"matrix": matrix}}
        make_run(folder, number, [f"continual={method}", f"seed={seed}"], 0.9, test=test, continual=tasks)
    return compare_runs(find_runs([str(folder)]))


def test_methods_of_continual_learning_are_beside_one_another(tmp_path):
    from src.sweep.table import sweep_summary
    from src.sweep.task_curves import plot_task_curves

    low, high = [[0.1, 0.1], [0.9, 0.2], [0.1, 0.9]], [[None, None], [0.9, 0.2], [0.7, 0.9]]
    comparison = make_tasks(tmp_path, [("none", 0, low), ("joint", 0, high), ("joint", 1, [*high[:2], [0.9, 0.9]])])
    assert comparison.metrics[-2:] == ["test/task_average", "test/forgetting"]
    table = sweep_summary(comparison)
    assert "50.00 %" in table and "85.00 ± 7.07 %" in table and "10.00 %" in table
    figure = plot_task_curves(comparison)
    best, lower = (text.get_text() for text in figure.legends[0].get_texts())
    assert best.startswith("continual=joint (n=2): 85.00 ± 7.07 %") and lower == "continual=none: 50.00 %"
    joint = figure.axes[0].lines[1]
    assert joint.get_xdata().tolist() == [1, 2] and joint.get_ydata().tolist() == pytest.approx([90, 85])
    assert len(figure.axes[0].collections) == 1, "a band for two seeds"


@pytest.mark.parametrize("continual", [[], {"test": []}, {"val": {"matrix": [[0.1], [0.1, 0.2]]}}, {"test": {}},
                                       {"test": {"matrix": [["a"]]}}])  # fmt: skip
def test_damaged_results_of_tasks_are_told(continual, tmp_path):
    make_run(tmp_path, 0, [], 0.9, continual=continual)
    (run,) = find_runs([str(tmp_path)])
    assert run.state == "damaged" and "its continual cannot be" in run.error


def test_a_run_without_its_test_and_one_cut_short_have_no_curve_and_no_average(tmp_path):
    from src.evaluation.continual import summarize_tasks, task_metrics, tasks_report
    from src.sweep.task_curves import plot_task_curves

    make_run(tmp_path, 0, [], 0.9, continual={"tasks": None, "test": None})
    assert plot_task_curves(compare_runs(find_runs([str(tmp_path)]))) is None
    short = {**summarize_tasks([[0.1, 0.1], [0.9, 0.2]]), "matrix": [[0.1, 0.1], [0.9, 0.2]]}
    assert task_metrics(short) == {}
    assert "ended after 1 of 2 tasks" in tasks_report({"reading": "class", "tasks": ["a", "b"], "test": short})


def test_what_continual_learning_measures_is_shown_in_per_cent():
    from src.evaluation.continual import summarize_tasks, task_metrics
    from src.evaluation.monitor import RATES

    assert set(task_metrics(summarize_tasks([[0.1, 0.1], [0.9, 0.2], [0.1, 0.9]]))) <= set(RATES)
