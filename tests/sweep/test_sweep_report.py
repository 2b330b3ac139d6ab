"""Figures, the best experiment and out-of-fold predictions of many runs."""

import numpy as np
import pytest
from omegaconf import OmegaConf

from src.sweep.report import join_folds, write_best_experiment
from src.sweep.run_records import find_runs
from src.sweep.study import SearchSummary
from src.sweep.table import compare_runs
from tests.run_folders import make_run


def test_figures_of_a_search_with_several_objectives(sweep, tmp_path):
    from src.sweep.figures import write_sweep_figures

    for number in range(6):
        (sweep / str(number) / "metrics.csv").write_text("epoch,val/acc\n1,0.5\n2,0.9\n")
    comparison = compare_runs(find_runs([str(sweep)]))
    search = SearchSummary({"optimizer.lr": 0.9, "seed": 0.1}, ["val/acc", "parameters"], ["2"])
    names = write_sweep_figures(comparison, tmp_path / "p", search)
    assert set(names) == {"curves", "parameters", "importance", "pareto", "history"}
    assert all((tmp_path / "p" / f"{name}.png").stat().st_size > 5000 for name in names)


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
        np.savez(path / "predictions.npz", index=index, labels=index % 2, logits=np.eye(2)[index % 2])
    runs = find_runs([str(tmp_path)])
    assert join_folds(runs[:1], tmp_path) is None
    with np.load(join_folds(runs, tmp_path)) as joined:
        assert joined["index"].tolist() == [0, 1, 2, 3]
        assert joined["fold"].tolist() == [1, 0, 1, 0]
        assert joined["logits"].argmax(1).tolist() == joined["labels"].tolist()
