"""Fine-tuning that moves as far from its start as the labelled images ask for."""

import json

import pytest
import torch
from torch import nn

from src.cli.config import load_config
from src.finetune.closed_form import solve_new_head
from src.model_files.checkpoint import load_model
from src.models.structure import find_head, predict_logits
from src.training.build import Session, build
from src.training.fit import fit, train

QUICK = ["trainer.accelerator=cpu", "logger=none", "trainer.enable_progress_bar=false", "figures=false", "run_name=x"]
MERGED = "data.classes={even:[0,2,4,6,8],odd:[1,3,5,7,9]}"


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> str:
    """A run on the bundled digits."""
    folder = tmp_path_factory.mktemp("source")
    words = ["data=digits", "model=lenet", "trainer.max_epochs=6", "optimizer.lr=5e-3", "test=false"]
    fit(build(load_config([*QUICK, *words, f"output_dir={folder}"])))
    return str(folder)


@pytest.fixture
def start(source, tmp_path):
    """A session of the default of fine-tuning, before its first step."""

    def make(*words: str) -> Session:
        words = ("experiment=finetune", f"init_from={source}", "data=digits", *words)
        return build(load_config([*QUICK, *words, f"output_dir={tmp_path / 'run'}"]))

    return make


def accuracy(session: Session) -> float:
    images, labels = session.data.val_set[torch.arange(len(session.data.val_set))]
    outputs = predict_logits(session.initial.model, session.data.normalize(images))
    return float((outputs.argmax(1) == labels).float().mean())


def test_a_start_that_fits_is_held_and_one_that_does_not_is_left(start):
    fits, turned = (start("data.shots=4", *words).initial.method for words in ([], ["data.quarter_turns=1"]))
    assert fits.choice["left"] < 0.2 < 0.6 < turned.choice["left"]
    assert fits.alpha > 100 * turned.alpha > 0
    assert 1 <= fits.rate < 1.4 < 2.2 < turned.rate <= 3
    for method in (fits, turned):
        assert method.alpha == pytest.approx(method.strength * (method.choice["left"] ** -2 - 1) / 4)
        assert method.choice["images"] == 40
    session = start("data.shots=4", "data.quarter_turns=1", "optimizer.lr=2e-3")
    groups = session.initial.method.parameter_groups(session.initial.model, 2e-3, 0.01)
    assert {group["lr"] for group in groups} == {2e-3 * session.initial.method.rate}


def test_more_images_hold_less(start):
    few, many = (start(f"data.shots={shots}").initial.method for shots in (2, 50))
    assert few.alpha / (few.choice["left"] ** -2 - 1) == pytest.approx(
        25 * many.alpha / (many.choice["left"] ** -2 - 1)
    )


def test_a_new_head_for_merged_classes_is_solved_and_held(start):
    session = start(MERGED, "data.shots=20")
    assert session.initial.fresh_head
    assert accuracy(session) > 0.93, "before the first step"
    method, head = session.initial.method, find_head(session.initial.model)[1]
    assert "a new head, solved from 40 labelled images" in method.choice["start"]
    assert method.alpha > 0.01
    assert method.penalty(session.initial.model).item() == 0
    with torch.no_grad():
        head.weight.add_(1)
    assert method.penalty(session.initial.model).item() == pytest.approx(method.alpha / 2 * head.weight.numel())


def test_a_single_image_of_each_class_is_judged_by_the_sources_uncertainty(start):
    method = start(MERGED, "data.shots=1").initial.method
    assert "the source's uncertainty of them" in method.choice["start"]
    assert "left out" not in method.choice["start"]
    assert 0 < method.choice["left"] < 0.3


def test_a_solved_head_of_no_use_is_random(start):
    session = start(MERGED, "data.shots=4", "finetune.start_fresh=0")
    assert "a new head, random, for 8 labelled images" in session.initial.method.choice["start"]
    head = find_head(session.initial.model)[1]
    assert float(head.weight.detach().abs().max()) <= 1 / head.in_features**0.5, "as nn.Linear draws it"


def test_what_was_chosen_is_in_the_log_and_in_the_results(source, tmp_path, caplog):
    words = ["experiment=finetune", f"init_from={source}", "data=digits", "data.shots=2", "trainer.max_epochs=1"]
    with caplog.at_level("INFO"):
        train(load_config([*QUICK, *words, "data.min_steps=2", f"output_dir={tmp_path}"]))
    chosen = json.loads((tmp_path / "results.json").read_text())["finetune"]
    assert chosen.keys() == {"start", "left", "alpha", "rate", "images"}
    line = f"finetune: {chosen['start']}: alpha {chosen['alpha']:.3g}, {chosen['rate']:.2f} times optimizer.lr"
    assert line in [record.getMessage() for record in caplog.records]
    assert load_model(tmp_path / "checkpoints/last.ckpt").config["finetune"]["strength"] == 2e-3


def test_a_network_without_a_bias_in_its_head_keeps_a_random_one(start):
    session = start(MERGED, "data.shots=2")
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 2, bias=False))
    method = type(session.initial.method)()
    method.adapt(model, (1, 28, 28), fresh_head=True)
    before = model[1].weight.detach().clone()
    method.prepare(model, session.data, None, torch.device("cpu"))
    assert model[1].weight.equal(before)
    assert "nothing to measure it by" in method.choice["start"]


@pytest.mark.parametrize("is_number", [False, True], ids=["classes", "number"])
def test_outputs_of_images_left_out_are_those_of_heads_solved_without_them(is_number):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(18, 5, generator=generator, dtype=torch.float64)
    labels = torch.randn(18, generator=generator) if is_number else torch.arange(18) % 3
    solved = solve_new_head(features, labels, 1 if is_number else 3, is_number)
    unit = (features - features.mean(0)).square().sum(1).mean().sqrt()
    targets = labels.double().unsqueeze(1) if is_number else nn.functional.one_hot(labels).double()
    rows = []
    for left_out in range(18):
        rest = torch.arange(18) != left_out
        x, y = features[rest] / unit, targets[rest]
        centre, mean = x.mean(0), y.mean(0)
        gram = (x - centre).T @ (x - centre) + solved.strength * torch.eye(5, dtype=torch.float64)
        weight = torch.linalg.solve(gram, (x - centre).T @ (y - mean))
        rows.append(mean + (features[left_out] / unit - centre) @ weight)
    expected = torch.stack(rows)
    scale = 1.0 if is_number else solved.left_out.std() / expected.std()
    assert torch.allclose(solved.left_out, scale * expected, rtol=1e-6)


def test_a_solved_head_gives_its_own_images_their_class():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(30) % 3
    features = torch.randn(30, 64, generator=generator) + 2 * torch.randn(3, 64, generator=generator)[labels]
    solved, head = solve_new_head(features, labels, 3), nn.Linear(64, 3)
    solved.set(head)
    assert head(features).argmax(1).equal(labels)
    assert solved.left_out.argmax(1).equal(labels)
