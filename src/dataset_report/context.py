"""The parts of a report, and what its sections are computed from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from matplotlib.figure import Figure
from torch import Tensor

from src.dataset_report.ink_measures import measure_ink
from src.dataset_report.sample import DatasetSample


@dataclass
class ReportFigure:
    """A figure, its file's name, a description for readers who cannot see it, and a caption."""

    name: str
    figure: Figure
    alt: str
    caption: str


@dataclass
class Table:
    """A header and rows of text or numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""


@dataclass
class Section:
    """One section of the page, and its numbers for report.json.

    summary: name -> text, its lines in the summary at the top of the page.
    """

    title: str
    paragraphs: list[str]
    figures: list[ReportFigure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    numbers: dict = field(default_factory=dict)
    summary: dict[str, str] = field(default_factory=dict)


@dataclass
class ReportContext:
    """What every section is computed from.

    suspects: number of suspicious labels in report.json. predictions: folder of a sweep's predictions.npz, or None.
    augmentations: name -> augmentation. normalize: from grey levels to a network's input, or None.
    on_progress: called during long computations.
    """

    data: DatasetSample
    seed: int = 0
    threads: int = 1
    tsne_images: int = 2500
    suspects: int = 200
    folds: int = 5
    predictions: str | None = None
    augmentations: Mapping[str, Callable] = field(default_factory=dict)
    normalize: Callable[[Tensor], Tensor] | None = None
    on_progress: Callable[[], None] = lambda: None

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.data.class_names

    @cached_property
    def ink_measures(self) -> dict[str, Tensor]:
        """Ink measures of the training images, name -> (N,)."""
        return measure_ink(self.data.train.images)
