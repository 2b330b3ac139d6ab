"""A command imports what it uses."""

import subprocess
import sys

import pytest

from src.cli.config import ROOT

CODE = """
import sys
from src.cli.config import load_config
from src.cli.imports import import_torchmetrics
import_torchmetrics(load_config({words}))
import src.training.fit, src.training.results
print(*[name for name in ("scipy.signal", "torchvision", "matplotlib", "torch") if name in sys.modules])
from torchmetrics.classification import MulticlassAUROC
from lightning_utilities.core.imports import RequirementCache, package_available
print(bool(RequirementCache("scipy>=1.0")), package_available("torchvision"))
"""


def imported(words: list[str]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(words=words)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    modules, available = done.stdout.splitlines()
    assert available == "True True"  # found again once torchmetrics is imported
    return modules.split()


def test_training_starts_without_what_it_does_not_use():
    assert imported([]) == ["torch"]


@pytest.mark.parametrize(
    "words", [["trust=[tests]"], ["metrics.a._target_=torchmetrics.classification.MulticlassAUROC"]]
)
def test_code_of_the_users_own_gets_all_of_torchmetrics(words):
    assert set(imported(words)) == {"scipy.signal", "torchvision", "matplotlib", "torch"}
