"""Train a classifier and test its best epoch: python -m src.train [group=option ...] [key=value ...]"""

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from src.cli.command import command, output_folder
from src.cli.references import choose_start, choose_teacher, resume
from src.sweep.ledger import resume_sweep


def prepare() -> None:
    """Complete the command line: what sweep.resume, resume_from, init_from and loss.teacher stand for."""
    resume_sweep()
    resume()
    choose_start()
    choose_teacher()


@command("train", prepare=prepare)
def main(cfg: DictConfig) -> float | None:
    """One run. Returns the best validation metric."""
    from src.training.fit import train  # torch and lightning: --help, --cfg job and completion answer at once

    return train(cfg, output_folder(), list(HydraConfig.get().overrides.task))


if __name__ == "__main__":
    main()
