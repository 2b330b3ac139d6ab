"""Our sweepers and launchers in the namespace package where Hydra looks for plugins; nothing is installed."""

from src.sweep import grid_sweeper, launcher, optuna_sweeper, ray_launcher, slurm_launcher


class GridSweeper(grid_sweeper.GridSweeper):
    """hydra/sweeper=grid"""


class OptunaSweeper(optuna_sweeper.OptunaSweeper):
    """hydra/sweeper=optuna"""


class SerialLauncher(launcher.SerialLauncher):
    """hydra/launcher=serial"""


class JoblibLauncher(launcher.JoblibLauncher):
    """hydra/launcher=joblib"""


class SlurmLauncher(slurm_launcher.SlurmLauncher):
    """hydra/launcher=slurm"""


class RayLauncher(ray_launcher.RayLauncher):
    """hydra/launcher=ray"""
