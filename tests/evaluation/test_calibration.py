"""The temperature is the published one, and probabilities it gives are calibrated."""

import math

import pytest
import torch
from scipy.optimize import minimize_scalar
from torch.nn import functional as F

from src.data.info import DataInfo
from src.evaluation.calibration import TOLERANCE, fit_temperature
from src.evaluation.evaluate import compute_metrics

INFO = DataInfo((1, 1, 1), tuple("abcd"), (0.5,), (0.5,))


def overconfident(temperature: float, count: int = 20_000) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are `temperature` times those that the labels are drawn from."""
    logits = torch.randn(count, 4)
    return logits * temperature, torch.multinomial(logits.softmax(1), 1)[:, 0]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_of_the_logits_is_found(temperature):
    logits, labels = overconfident(temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.1)


def test_calibration_lowers_the_error_and_changes_no_prediction():
    logits, labels = overconfident(3.0)
    before = compute_metrics(logits, labels, INFO)
    after = compute_metrics(logits, labels, INFO, fit_temperature(logits, labels))
    assert after["ece_uncalibrated"] == before["ece"] > 0.1 > 0.03 > after["ece"]
    assert after["confusion"] == before["confusion"]
    assert after["acc"] == before["acc"]


def test_a_split_without_a_mistake_gives_no_certainty():
    logits = 5 * torch.eye(4).repeat(10, 1)
    temperature = fit_temperature(logits, torch.arange(4).repeat(10))
    assert (logits / temperature).softmax(1).max() < 0.99
    assert fit_temperature(logits[:0], torch.empty(0, dtype=torch.long)) is None


def without_prior(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The fit of Guo et al. with one label in N + 2 counted as wrong."""
    (count, classes), logits = logits.shape, logits.double()
    wrong = 1 / (count + 2)
    targets = F.one_hot(labels, classes) * (1 - wrong - wrong / (classes - 1)) + wrong / (classes - 1)
    bounds = math.log(0.05), math.log(20)
    fit = minimize_scalar(lambda x: float(F.cross_entropy(logits / math.exp(x), targets)), bounds=bounds)
    return math.exp(fit.x)


def separable(count: int, mistakes: int, margin: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a network that is sure of every answer, of three classes."""
    labels = torch.arange(count) % 3
    answers = torch.where(torch.arange(count) < mistakes, (labels + 1) % 3, labels)
    return margin * (0.5 + torch.rand(count, 1)) * F.one_hot(answers, 3) + torch.randn(count, 3), labels


@pytest.mark.parametrize("margin", [15, 50])
@pytest.mark.parametrize("count", [3, 10, 20, 300])
def test_a_few_right_answers_do_not_make_the_probabilities_worse(count, margin, caplog):
    caplog.set_level("INFO")
    logits, labels = separable(count, 0, margin)
    temperature = fit_temperature(logits, labels)
    before, after = F.cross_entropy(logits, labels), F.cross_entropy(logits / temperature, labels)
    assert after <= before + TOLERANCE
    assert temperature == 1 or not caplog.messages
    assert temperature < 3 < without_prior(logits, labels) or count == 300 or margin == 15
    if (count, margin) == (300, 50):
        (message,) = caplog.messages
        assert message.startswith("the probabilities stay as they are: a temperature of ")
        assert "300 validation images from 0.0000 to 0." in message


def test_the_temperature_of_ten_images_is_close_to_1():
    found = [fit_temperature(*overconfident(1.0, 10)) for _ in range(50)]
    assert min(found) > 0.45
    assert max(found) < 2


@pytest.mark.parametrize("count", [5_000, 20_000])
@pytest.mark.parametrize("draw", ["half", "same", "thrice", "no mistakes", "some mistakes"])
def test_many_images_give_the_temperature_without_a_prior(count, draw):
    scales = {"half": 0.5, "same": 1.0, "thrice": 3.0}
    sure = {"no mistakes": 0, "some mistakes": 5}
    logits, labels = overconfident(scales[draw], count) if draw in scales else separable(count, sure[draw], 20)
    assert fit_temperature(logits, labels) == pytest.approx(without_prior(logits, labels), rel=0.01)


def test_the_loss_of_other_images_is_never_noticeably_higher():
    means: dict[int, list] = {}
    for count, draws in ((10, 60), (30, 40), (100, 20), (1000, 3)):
        for spread, scale in ((1, 1), (3, 1), (8, 1), (3, 0.5), (3, 3)):
            changes = []
            for _ in range(draws):
                logits = spread * torch.randn(2000 + count, 4)
                labels, logits = torch.multinomial(logits.softmax(1), 1)[:, 0], scale * logits
                few, many = (logits[:count], labels[:count]), (logits[count:], labels[count:])
                base = F.cross_entropy(*many)
                changes.append([
                    float(F.cross_entropy(many[0] / fit(*few), many[1]) - base)
                    for fit in (fit_temperature, without_prior)
                ])  # fmt: skip
            means.setdefault(count, []).append(torch.tensor(changes).mean(0))
    for count, worlds in means.items():
        new, plain = torch.stack(worlds).T
        assert new.max() < 0.03, f"{count} images: against no temperature"
        assert new.max() <= plain.max() + 0.005
        if count <= 30:
            assert new.mean() < plain.mean(), f"{count} images: against the fit without a prior"


def test_a_temperature_at_its_bound_is_told(caplog):
    logits, labels = separable(5000, 2500, 1000)
    assert fit_temperature(logits, labels) == pytest.approx(20, rel=0.01)
    assert caplog.messages == [
        "the temperature of the probabilities is at its bound of 20.00 (5,000 validation images): they may be far from "
        "how often answers are right"
    ]
