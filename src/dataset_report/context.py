"""The parts of a report, and what its sections are computed from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from matplotlib.figure import Figure
from torch import Tensor

from src.dataset_report.measures import MeasureSet, choose_measures
from src.dataset_report.sample import DatasetSample


@dataclass
class ReportFigure:
    """A figure of a section."""

    name: str  # of its file
    figure: Figure
    alt: str  # for readers who cannot see it
    caption: str


@dataclass
class Table:
    """A header and rows of text or numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""


@dataclass
class Section:
    """One section of the page."""

    title: str
    paragraphs: list[str]
    figures: list[ReportFigure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    numbers: dict = field(default_factory=dict)  # for report.json
    summary: dict[str, str] = field(default_factory=dict)  # name -> text, lines at the top of the page


@dataclass
class ReportContext:
    """What every section is computed from."""

    data: DatasetSample
    seed: int = 0
    threads: int = 1
    tsne_images: int = 2500
    suspects: int = 200  # suspicious labels in report.json
    folds: int = 5
    predictions: str | None = None  # folder of a sweep's predictions.npz
    augmentations: Mapping[str, Callable] = field(default_factory=dict)
    normalize: Callable[[Tensor], Tensor] | None = None  # from grey levels to a network's input
    on_progress: Callable[[], None] = lambda: None  # called during long computations

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.data.class_names

    @cached_property
    def measure_set(self) -> MeasureSet:
        """The measures that suit these images."""
        return choose_measures(self.data.train.images)

    @cached_property
    def measures(self) -> dict[str, Tensor]:
        """Measures of the training images, name -> (N,)."""
        return self.measure_set.function(self.data.train.images)
