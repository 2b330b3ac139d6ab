"""A sample of benchmarks.kill: runs and sweeps that a signal stopped end as if they had been left alone."""

import os
import subprocess
import sys

import pytest

from benchmarks.kill import METHODS, MOMENTS, PROGRESS, SIGNALS, SWEEPS, all_points, sample
from src.cli.config import ROOT

KINDS = ("accumulation", "ema", "lora", "grid", "optuna")


def test_the_matrix_has_every_combination_once():
    points = all_points()
    runs, sweeps = len(METHODS) * len(MOMENTS), len(SWEEPS) * len(PROGRESS)
    assert len(points) == len(set(points)) == (runs + sweeps) * len(SIGNALS) >= 200


def test_a_sample_is_balanced():
    points = sample(all_points(), 12)
    assert len(set(points)) == 12
    assert {point.signal for point in points} == {*SIGNALS} and len({point.kind for point in points}) > 9


@pytest.mark.skipif(os.name == "nt", reason="processes are forked")
@pytest.mark.parametrize("points", [3, pytest.param(12, marks=pytest.mark.slow)])
def test_points_end_as_if_they_had_been_left_alone(points):
    command = [sys.executable, "-m", "benchmarks.kill", "--points", str(points), "--kinds", *KINDS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{points} of {points} points: ended with the status of the signal, resumed, equal bit by bit" in done.stdout
