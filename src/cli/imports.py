"""torchmetrics without what it imports for sound, detection and plots: a third of a command's start."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from omegaconf import DictConfig

from src.model_files.trust import VARIABLE

UNUSED = ("matplotlib", "scipy", "torchvision")


def import_torchmetrics(cfg: DictConfig) -> None:
    """Import torchmetrics, as Lightning does, but without UNUSED, which it wants for metrics and plots of no use here.

    It gets them where the config names metrics or trusts packages from outside the project, which may need them.
    """
    own_code = cfg.get("metrics") or cfg.get("trust") or os.environ.get(VARIABLE)
    if not own_code and "torchmetrics" not in sys.modules:
        with _as_if_missing(UNUSED):
            import torchmetrics  # noqa: F401


@contextmanager
def _as_if_missing(packages: tuple[str, ...]) -> Iterator[None]:
    """Let Lightning's packages, while they are imported, find these packages missing."""
    from lightning_utilities.core import imports

    package_available, check = imports.package_available, imports.RequirementCache._check_requirement

    def check_requirement(requirement: imports.RequirementCache) -> None:
        if str(requirement.requirement).partition(">")[0] in packages:
            requirement.available, requirement.message = False, f"{requirement.requirement} is not imported here"
        else:
            check(requirement)

    imports.package_available = lambda name: name not in packages and package_available(name)
    imports.RequirementCache._check_requirement = check_requirement  # type: ignore[method-assign]
    try:
        yield
    finally:
        imports.package_available = package_available
        imports.RequirementCache._check_requirement = check  # type: ignore[method-assign]
