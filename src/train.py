"""Train a classifier and test it: python -m src.train [group=option ...] [key=value ...]"""

from collections.abc import Sequence

from omegaconf import DictConfig

from src.cli.command import command
from src.cli.config import recorded_words
from src.cli.imports import import_torchmetrics
from src.cli.references import resolve_overrides
from src.sweep.ledger import resume_sweep
from src.sweep.study import pruning_check, search_objectives


def resolve(words: Sequence[str]) -> list[str]:
    """The overrides that sweep.resume, resume_from, init_from and loss.teacher stand for."""
    return resolve_overrides(resume_sweep(words))


@command("train", resolve=resolve)
def main(cfg: DictConfig) -> float | None:
    """One run. Returns the best validation metric."""
    import_torchmetrics(cfg)
    from src.training.fit import train  # torch and lightning: --help, --cfg job and completion answer at once

    return train(cfg, recorded_words(), pruning_check(), search_objectives())


if __name__ == "__main__":
    main()
