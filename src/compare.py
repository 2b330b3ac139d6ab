"""Compare runs of any date in one table: python -m src.compare outputs/<sweep> [more] [metric=val/loss]"""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from src.cli.command import command, output_folder
from src.cli.overrides import hydra_literal
from src.errors import require
from src.files import display_path


def collect_folders(words: Sequence[str]) -> list[str]:
    """The words with bare folders collected into the key `runs`."""
    bare = [word for word in words if not word.startswith(("-", "hydra.", "hydra/"))]
    folders = [word for word in bare if "=" not in word or Path(word).exists()]
    if not folders:
        return list(words)
    return [*(word for word in words if word not in folders), f"runs={hydra_literal(folders)}"]


@command("compare", resolve=collect_folders)
def main(cfg: DictConfig) -> None:
    """Write a table of runs and one of configurations, figures, and the best configuration as an experiment file."""
    from src.sweep.report import write_sweep_report
    from src.sweep.run_records import find_runs
    from src.sweep.table import compare_runs, sweep_summary, write_tables

    folders = [cfg.runs] if isinstance(cfg.runs, str) else list(cfg.runs or [])
    require(bool(folders), "which runs? give folders: python -m src.compare outputs/<sweep> [more]")
    runs = find_runs(folders)
    comparison = compare_runs(runs, cfg.metric)
    folder = output_folder()
    write_tables(comparison, folder)
    lines = write_sweep_report(comparison, folder, figures=cfg.figures)
    print(f"{len(runs)} runs\n\n{sweep_summary(comparison, cfg.rows)}\n")
    print("\n".join([f"everything is in {display_path(folder)}", *lines]))


if __name__ == "__main__":
    main()
