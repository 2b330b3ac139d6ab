"""Whether runs differ on their test images."""

import json
import math

import numpy as np
import pytest
import torch

from src.data.batches import BatchDataset
from src.data.info import DataInfo
from src.errors import InputError
from src.evaluation.predictions import write_predictions
from src.sweep.comparison import compare_runs, values_text
from src.sweep.differences import differences_lines, find_differences, mcnemar, paired_bootstrap
from src.sweep.report import write_best_experiment
from src.sweep.run_records import find_runs
from src.sweep.table import write_tables
from tests.run_folders import make_run

INFO = DataInfo((1, 2, 2), ("cat", "dog"), (0.5,), (0.5,))
COUNT = 400


def wrong_rows(*numbers: int) -> np.ndarray:
    wrong = np.zeros(COUNT, bool)
    wrong[list(numbers)] = True
    return wrong


def write(folder, wrong: np.ndarray, order=None, files=None) -> None:
    """The predictions of a network that is wrong on these images, in this order."""
    order = torch.arange(len(wrong)) if order is None else order
    labels = torch.arange(len(wrong)) % 2
    answers = torch.where(torch.from_numpy(wrong), 1 - labels, labels)[order]
    batches = BatchDataset(torch.zeros(len(wrong), 1, 2, 2, dtype=torch.uint8), labels, order, files)
    write_predictions(folder / "predictions.csv", batches, 5.0 * torch.eye(2)[answers], labels[order], INFO)


def differences(folder, metric=None):
    return find_differences(compare_runs(find_runs([str(folder)]), metric))


def test_two_runs_are_compared_image_by_image_in_any_order(tmp_path):
    """The best misses 12 that the other has right; the other misses 31 of its; both miss 5."""
    both = range(5)
    a, b = make_run(tmp_path, 0, ["model=lenet"], 0.9), make_run(tmp_path, 1, ["model=mlp"], 0.8)
    write(a, wrong_rows(*both, *range(5, 17)))
    write(b, wrong_rows(*both, *range(17, 48)), torch.randperm(COUNT))
    found = differences(tmp_path)
    (other,) = found.others
    assert (found.best.name, found.images) == ("run 0 (model=lenet)", COUNT)
    assert (other.gained, other.lost) == (12, 31)
    assert other.p == pytest.approx(2 * sum(math.comb(43, k) for k in range(13)) / 2**43)
    assert other.change == pytest.approx(-19 / COUNT)
    spread = math.sqrt((43 - 19**2 / COUNT) / COUNT**2)
    assert (other.low, other.high) == pytest.approx(
        (other.change - 1.96 * spread, other.change + 1.96 * spread), abs=0.003
    )
    text = "\n".join(differences_lines(found))
    assert f"right on 12 that the best misses, wrong on 31 that it has right: McNemar p = {other.p:.2g}; " in text
    assert f"-4.75 points (95 % {100 * other.low:+.2f} to {100 * other.high:+.2f})" in text


def test_validation_chooses_the_best_and_one_configuration_is_compared_run_by_run(tmp_path):
    for seed, (score, wrong) in enumerate([(0.8, wrong_rows(1)), (0.9, wrong_rows(1, 2, 3))]):
        write(make_run(tmp_path, seed, [f"seed={seed}"], score), wrong)
    found = differences(tmp_path)
    assert found.best.name == "run 1"
    assert (found.others[0].name, found.others[0].gained, found.others[0].lost) == ("run 0", 2, 0)


def test_several_seeds_widen_the_interval_and_have_no_p(tmp_path):
    """One seed of the worse is always wrong and one never: a third may be either."""
    none, all_ = wrong_rows(), ~wrong_rows()
    for number, (model, seed, wrong) in enumerate([("a", 0, none), ("a", 1, none), ("b", 0, none), ("b", 1, all_)]):
        write(make_run(tmp_path, number, [f"model={model}", f"seed={seed}"], 0.9 - 0.1 * (model == "b")), wrong)
    (other,) = differences(tmp_path).others
    assert (other.runs, other.p, other.gained, other.change) == (2, None, None, -0.5)
    assert other.low < -0.9 and other.high >= 0
    assert "over images and runs" in "\n".join(differences_lines(differences(tmp_path)))


def test_other_images_other_truths_and_missing_or_damaged_files_are_not_compared(tmp_path):
    best = make_run(tmp_path, 0, ["model=a"], 0.9)
    write(best, wrong_rows(1))
    runs = [make_run(tmp_path, number, [f"model={number}"], 0.5) for number in range(1, 6)]
    write(runs[0], wrong_rows(1)[:-1])
    write(runs[1], wrong_rows(1), files=tuple(f"{row}.png" for row in range(COUNT)))
    text = (best / "predictions.csv").read_text()
    (runs[2] / "predictions.csv").write_text(text.replace("0,cat", "0,dog", 1))
    (runs[4] / "predictions.csv").write_text("{")
    found = differences(tmp_path)
    reasons = {one.name.split()[1]: one.reason for one in found.others}
    assert [reasons[str(n)] for n in (1, 2, 3)] == ["it was tested on other images"] * 3
    assert "test=false" in reasons["4"] and "cannot be read" in reasons["5"]
    (best / "predictions.csv").unlink()
    (line,) = differences_lines(differences(tmp_path))
    assert line.startswith("no test of differences: run 0")


def test_many_candidates_are_corrected_by_holm(tmp_path):
    lost = [0, 20, 12, 8]
    for number, count in enumerate(lost):
        write(make_run(tmp_path, number, [f"model={number}"], 0.9 - 0.1 * number), wrong_rows(*range(count)))
    p = [mcnemar(0, count) for count in lost[1:]]
    corrected = [one.p_holm for one in differences(tmp_path).others]
    assert corrected == pytest.approx([3 * p[0], 2 * p[1], p[2]])
    assert "by Holm for 3 tests" in "\n".join(differences_lines(differences(tmp_path)))
    assert mcnemar(0, 0) == 1


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """Networks that are wrong on 10 and 16 % of all images, independently: 200 test sets of 300 images."""
    rng, inside = np.random.default_rng(1), 0
    for _ in range(200):
        first, second = (rng.random((1, 300)) < share for share in (0.10, 0.16))
        low, high = paired_bootstrap(first.astype(float), second.astype(float))
        inside += low <= 0.06 <= high
    assert 0.90 <= inside / 200 <= 0.99


def test_estimates_are_compared_by_their_mean_error(tmp_path):
    info = DataInfo((1, 2, 2), (), (0.5,), (0.5,), "angle_deg", 45.0)
    batches = BatchDataset(torch.zeros(50, 1, 2, 2, dtype=torch.uint8), torch.zeros(50), torch.arange(50))
    for number, off in enumerate((0.1, 0.2)):
        run = make_run(tmp_path, number, [f"model={number}"], 0.9 - 0.1 * number)
        outputs = off * torch.linspace(0.5, 1.5, 50)
        write_predictions(run / "predictions.csv", batches, outputs[:, None], torch.zeros(50), info)
    found = differences(tmp_path)
    (other,) = found.others
    assert found.is_number and other.p is None
    assert other.change == pytest.approx(4.5, rel=1e-4) and 3.8 < other.low < 4.5 < other.high < 5.2
    assert "+4.50 in mean error" in "\n".join(differences_lines(found))


def test_one_run_has_no_differences_and_table_md_has_those_of_several(tmp_path):
    for number in range(2):
        write(make_run(tmp_path, number, [f"model={number}"], 0.9), wrong_rows(number))
    assert differences(tmp_path / "0") is None
    comparison = compare_runs(find_runs([str(tmp_path)]))
    write_tables(comparison, tmp_path, differences_lines(find_differences(comparison)))
    assert "McNemar p = 1;" in (tmp_path / "table.md").read_text()


def make_evaluation(folder, number, words, accuracy, split="all"):
    """The folder of src.evaluate."""
    path = make_run(folder, number, words)
    about = {"ckpt": f"/runs/{number}/best.ckpt", "sha256": "0", "epoch": 3, "data": "folder", "split": split}
    metrics = {"images": COUNT, "acc": accuracy, "loss": 1 - accuracy, "acc_ci95": [0, 1], "target": None}
    (path / "results.json").write_text(json.dumps(about | metrics))
    (path / "status.json").write_text(json.dumps({"state": "finished", "command": "evaluate", "seconds": 1.0}))
    return path


def test_evaluations_of_two_networks_on_new_pictures_are_compared(tmp_path):
    a, b = (make_evaluation(tmp_path, n, ["ckpt=newest"], accuracy) for n, accuracy in ((0, 0.9), (1, 0.8)))
    write(a, wrong_rows(*range(40)))
    write(b, wrong_rows(*range(80)), torch.randperm(COUNT))
    runs = find_runs([str(a), str(b)])
    comparison = compare_runs(runs)
    assert (comparison.metric, comparison.varied_keys) == ("test/acc", ["ckpt"]), "which newest was, tells them apart"
    found = find_differences(comparison)
    assert (found.best.name, found.others[0].lost, found.others[0].gained) == (
        f"run {runs[0].name} (ckpt=/runs/0/best.ckpt)",
        40,
        0,
    )
    assert write_best_experiment(comparison, tmp_path) is None, "an evaluation is no experiment of src.train"
    with pytest.raises(InputError, match=r"there is no run in it; .* folders of src\.evaluate are given themselves"):
        find_runs([str(tmp_path)])


def test_evaluations_stand_beside_runs_and_are_never_mistaken_for_a_test(tmp_path):
    run = make_run(tmp_path, 0, ["model=mlp"], 0.9, test={"acc": 0.7})
    train = make_evaluation(tmp_path, 1, ["ckpt=a"], 0.99, split="train")
    comparison = compare_runs(find_runs([str(run), str(train)]), "test/acc")
    assert [each.score("test/acc") for each in comparison.ranked()] == [0.7, None]
    assert compare_runs(find_runs([str(run), str(train)])).metric == "val/acc"
    assert compare_runs(find_runs([str(train)])).metric == "train/acc"
    (train / "results.json").write_text("{}")
    (damaged,) = find_runs([str(train)])
    assert (damaged.state, damaged.error) == ("damaged", "results.json: there is no 'ckpt'")


def test_names_leave_out_that_a_run_has_no_experiment(tmp_path):
    make_run(tmp_path, "plain", [], 0.9, choices={"experiment": None, "scheduler": None})
    make_run(tmp_path, "probe", ["experiment=probe", "scheduler=cosine"], 0.8, choices={"experiment": "probe"})
    comparison = compare_runs(find_runs([str(tmp_path)]))
    named = [values_text(configuration.values) for configuration in comparison.configurations]
    assert named == ["scheduler=null", "experiment=probe scheduler=cosine"]
    for number in ("plain", "probe"):
        write(tmp_path / number, wrong_rows())
    found = differences(tmp_path)
    assert [found.best.name, found.others[0].name] == [
        "run plain (scheduler=null)", "run probe (experiment=probe scheduler=cosine)",
    ]  # fmt: skip
