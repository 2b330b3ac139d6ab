"""What a chapter of a report is made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from matplotlib.figure import Figure
from torch import Tensor

from src.dataset_report.collect import Collection
from src.dataset_report.ink_measures import strokes


@dataclass
class ReportFigure:
    """A picture: its file's name, what it shows in words (for those who cannot see it), and what to see in it."""

    name: str
    figure: Figure
    alt: str
    caption: str


@dataclass
class Table:
    """A head and rows of text or numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""


@dataclass
class Section:
    """A chapter: paragraphs, pictures, tables, and the numbers for report.json.

    brief: what the table at the beginning of the page says of it: name -> text.
    """

    title: str
    text: list[str]
    shown: list[ReportFigure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    numbers: dict = field(default_factory=dict)
    brief: dict[str, str] = field(default_factory=dict)


@dataclass
class ReportContext:
    """What every chapter is written from, and the choices it depends on.

    suspects: how many suspicious labels are listed. predictions: folder of a sweep's predictions.npz, or None.
    augments: name -> augmentation. normalize: grey levels to what a network reads. tick: called as work goes on.
    """

    collection: Collection
    seed: int = 0
    threads: int = 1
    tsne_images: int = 2500
    suspects: int = 200
    folds: int = 5
    predictions: str | None = None
    augments: Mapping[str, Callable] = field(default_factory=dict)
    normalize: Callable[[Tensor], Tensor] | None = None
    tick: Callable[[], None] = lambda: None

    @cached_property
    def strokes(self) -> dict[str, Tensor]:
        """Ink measures of the training images, name -> (N,)."""
        return strokes(self.collection.train.images)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return self.collection.class_names


def join_words(names: Sequence[str], most: int = 8) -> str:
    """Names as part of a sentence."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def many(count: int, noun: str, nouns: str | None = None) -> str:
    """A count and its noun: "1 pair", "2 pairs"."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def per_cent(part: float, whole: float = 1.0) -> str:
    """A share as text, with as many digits as it needs."""
    value = 100 * part / whole if whole else 0.0
    return f"{value:.1f} %" if value >= 1 or value == 0 else f"{value:.2g} %"
