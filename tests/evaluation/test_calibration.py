"""The temperature is the published one, and probabilities it gives are calibrated."""

import pytest
import torch

from src.data.info import DataInfo
from src.evaluation.calibration import fit_temperature
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
