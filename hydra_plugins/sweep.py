"""Where Hydra looks for plugins: our sweepers and launchers, found without being installed."""

from src.sweep import grid, launcher, search


class GridSweeper(grid.GridSweeper):
    """hydra/sweeper=grid"""


class OptunaSweeper(search.OptunaSweeper):
    """hydra/sweeper=optuna"""


class SerialLauncher(launcher.SerialLauncher):
    """hydra/launcher=serial"""


class JoblibLauncher(launcher.JoblibLauncher):
    """hydra/launcher=joblib"""
