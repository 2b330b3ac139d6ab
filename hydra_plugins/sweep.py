"""Where Hydra looks for plugins: our sweepers and launchers, found without being installed."""

from src.sweep import grid_sweeper, launcher, optuna_sweeper


class GridSweeper(grid_sweeper.GridSweeper):
    """hydra/sweeper=grid"""


class OptunaSweeper(optuna_sweeper.OptunaSweeper):
    """hydra/sweeper=optuna"""


class SerialLauncher(launcher.SerialLauncher):
    """hydra/launcher=serial"""


class JoblibLauncher(launcher.JoblibLauncher):
    """hydra/launcher=joblib"""
