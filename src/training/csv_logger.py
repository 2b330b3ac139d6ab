"""metrics.csv: a table of epochs, beside any other logger."""

import csv
import io
from pathlib import Path

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from src.errors import InputError, printable
from src.files import display_path, read_rows, write_text

RESULTS = ("test/", "transfer/")  # of the chosen epoch, logged at the end of the run


class EpochCSVLogger(Logger):
    """One CSV row per epoch, one column per metric; a resumed run continues the same file.

    path: the file. The results of the chosen epoch (test/, transfer/), measured after the last one, join its row, whose
    step stays that of its training. Values logged without an epoch (single steps) go to the dashboards only.
    """

    name = version = ""

    def __init__(self, path: str):
        super().__init__()
        self.path = Path(path)
        self.rows: dict[int, dict] = {}
        if self.path.is_file():
            try:
                for row in read_rows(self.path):
                    values = {key: value for key, value in row.items() if value}
                    for value in values.values():
                        float(value)  # ValueError for anything but a number
                    self.rows[int(row["epoch"])] = values
            except (OSError, ValueError, KeyError) as error:
                problem = f"{display_path(self.path)} is damaged ({printable(error, 80)})"
                raise InputError(f"{problem}: move it away, and the rest of the run writes a new one") from None

    def missing_epochs(self, count: int) -> list[int]:
        """Which of the first `count` epochs have no row."""
        return [epoch for epoch in range(1, count + 1) if epoch not in self.rows]

    @rank_zero_only
    def log_hyperparams(self, params, *args, **kwargs) -> None:
        """The run's config is in .hydra/config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if "epoch" not in metrics:
            return
        row = self._row(int(metrics["epoch"]))
        if not all(name.startswith(RESULTS) for name in metrics if name != "epoch"):
            row["step"] = step + 1 if step is not None else ""
        row |= {name: f"{value:.6g}" for name, value in metrics.items() if name != "epoch"}

    @rank_zero_only
    def record(self, epoch: int, metrics: dict[str, float]) -> None:
        """Add measures of an epoch, from 0, and save the table."""
        row = self._row(epoch)
        row |= {name: f"{value:.6g}" for name, value in metrics.items()}
        self.save()

    def _row(self, epoch: int) -> dict:
        return self.rows.setdefault(epoch + 1, {"epoch": epoch + 1, "step": ""})

    @rank_zero_only
    def save(self) -> None:
        columns = list(dict.fromkeys(name for row in self.rows.values() for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for _, row in sorted(self.rows.items()))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.path, text.getvalue())

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if self.rows:
            self.save()
