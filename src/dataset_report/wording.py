"""Counts, names and shares as parts of sentences."""

from collections.abc import Sequence


def join_names(names: Sequence[str], most: int = 8) -> str:
    """Names as part of a sentence; those beyond `most` are counted."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def pluralize(count: int, noun: str, plural: str | None = None) -> str:
    """A count and its noun: "1 pair", "2 pairs"."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def format_percent(part: float, whole: float = 1.0) -> str:
    """A share in per cent, with one decimal, or two significant digits below 1 %."""
    value = 100 * part / whole if whole else 0.0
    return f"{value:.1f} %" if value >= 1 or value == 0 else f"{value:.2g} %"
