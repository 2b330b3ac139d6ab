"""metrics.csv: a row per epoch, whose step is its own."""

import csv

from src.training.csv_logger import EpochCSVLogger


def write(path) -> EpochCSVLogger:
    """Three epochs of 20 steps."""
    logger = EpochCSVLogger(str(path))
    for epoch in range(3):
        logger.log_metrics({"val/acc": 0.5, "epoch": epoch}, step=20 * epoch + 9)  # within the epoch
        logger.log_metrics({"val/acc": 0.6, "epoch": epoch}, step=20 * epoch + 19)
        logger.record(epoch, {"train/loss": 1.0})
    logger.finalize("success")
    return logger


def steps(path) -> list[str]:
    with path.open() as file:
        return [row["step"] for row in csv.DictReader(file)]


def test_the_results_of_an_epoch_leave_its_step(tmp_path):
    path = tmp_path / "metrics.csv"
    logger = write(path)
    assert steps(path) == ["20", "40", "60"]
    logger.log_metrics({"test/acc": 0.7, "transfer/before": 0.1, "epoch": 1}, step=59)
    logger.finalize("success")
    assert steps(path) == ["20", "40", "60"]
    with path.open() as file:
        assert [row["test/acc"] for row in csv.DictReader(file)] == ["", "0.7", ""]


def test_a_resumed_run_keeps_the_steps_and_goes_on(tmp_path):
    path = tmp_path / "metrics.csv"
    write(path).log_metrics({"test/acc": 0.7, "epoch": 1}, step=59)
    logger = EpochCSVLogger(str(path))
    logger.log_metrics({"val/acc": 0.6, "epoch": 3}, step=79)
    logger.log_metrics({"test/acc": 0.8, "epoch": 2}, step=79)
    logger.finalize("success")
    assert steps(path) == ["20", "40", "60", "80"]


def test_an_epoch_without_a_row_gets_no_step_of_another(tmp_path):
    path = tmp_path / "metrics.csv"
    logger = EpochCSVLogger(str(path))
    logger.log_metrics({"test/acc": 0.7, "epoch": 1}, step=59)
    logger.finalize("success")
    assert steps(path) == [""]
