"""Compare runs of any date in one table: python -m src.compare outputs/<sweep> [more] [metric=val/loss]"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from src.cli.command import command
from src.cli.job_record import output_folder
from src.cli.overrides import hydra_literal
from src.errors import InputError, printable, require
from src.files import display_path, write_json

if TYPE_CHECKING:
    from src.sweep.run_records import Run


def collect_folders(words: Sequence[str]) -> list[str]:
    """The words with bare folders collected into the key `runs`."""
    bare = [word for word in words if not word.startswith(("-", "hydra.", "hydra/"))]
    folders = [word for word in bare if "=" not in word or Path(word).exists()]
    if not folders:
        return list(words)
    return [*(word for word in words if word not in folders), f"runs={hydra_literal(folders)}"]


@command("compare", resolve=collect_folders)
def main(cfg: DictConfig) -> None:
    """Write a table of runs and one of configurations, figures, whether they differ, and the best as an experiment."""
    from src.sweep.comparison import compare_runs
    from src.sweep.differences import differences_lines, find_differences
    from src.sweep.ledger import swept_keys
    from src.sweep.report import write_sweep_report
    from src.sweep.run_records import find_runs
    from src.sweep.table import sweep_summary, write_tables

    folders = [cfg.runs] if isinstance(cfg.runs, str) else list(cfg.runs or [])
    require(bool(folders), "which runs? give folders: python -m src.compare outputs/<sweep> [more]")
    runs = find_runs(folders)
    without = [path for path in folders if not any(_is_in(run, Path(path)) for run in runs)]
    left_out = f"; no run is in {printable(', '.join(without), 200)}" if without else ""
    fix = "give runs of src.train, or folders of src.evaluate themselves"
    only = f"nothing to compare: {display_path(runs[0].folder)} is the only run in these folders{left_out}"
    require(len(runs) > 1 or len(folders) == 1, f"{only}; {fix}")
    comparison = compare_runs(runs, cfg.metric, swept=swept_keys(run.folder.parent for run in runs))
    folder = output_folder()
    differences = find_differences(comparison)
    notes = differences_lines(differences, cfg.rows) if differences else []
    write_tables(comparison, folder, notes)
    if differences:
        write_json(folder / "differences.json", differences.to_dict())
    lines = write_sweep_report(comparison, folder, figures=cfg.figures)
    head = f"{len(runs)} run{'s' * (len(runs) != 1)}{left_out}"
    print("\n".join([f"{head}\n\n{sweep_summary(comparison, cfg.rows)}\n", *notes, *[""] * bool(notes)]))
    print("\n".join([f"everything is in {display_path(folder)}", *lines]), flush=True)
    _report_damage(runs)


def _is_in(run: "Run", folder: Path) -> bool:
    return run.folder.resolve().is_relative_to(folder.expanduser().resolve())


def _report_damage(runs: Sequence["Run"]) -> None:
    damaged = [run for run in runs if run.state == "damaged"]
    if damaged:
        first = f"{display_path(damaged[0].folder)} ({damaged[0].error})"
        raise InputError(f"{len(damaged)} of {len(runs)} runs cannot be read, the first: {first}")


if __name__ == "__main__":
    main()
