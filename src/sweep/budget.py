"""Limits on the time and the jobs of one call, and durations as text."""

import re
import time

from src.errors import positive_int, require


class Budget:
    """Limits on starting jobs: `max_time` (seconds, or [[days:]hours:]minutes:seconds) and `max_jobs` of one call.

    Raises InputError if a limit is neither valid nor None.
    """

    def __init__(self, max_time: object = None, max_jobs: object = None):
        self.max_jobs = positive_int("sweep.max_jobs", max_jobs, optional=True)
        self.max_seconds = parse_duration(max_time)
        self.started_jobs, self._start = 0, time.monotonic()

    def limit_reached(self) -> str:
        """The key of the limit that forbids another job; empty if none does."""
        if self.max_jobs is not None and self.started_jobs >= self.max_jobs:
            return "sweep.max_jobs"
        timed_out = self.max_seconds is not None and time.monotonic() - self._start >= self.max_seconds
        return "sweep.max_time" if timed_out else ""


def parse_duration(value: object) -> float | None:
    """Seconds of sweep.max_time: a number of seconds, or [[days:]hours:]minutes:seconds; None stays None."""
    if value is None:
        return None
    fields = str(value).split(":") if re.fullmatch(r"\d+(\.\d+)?|(\d+:){1,3}\d+", str(value)) else []
    units = (1, 60, 3600, 86400)
    seconds = sum(float(number) * unit for number, unit in zip(reversed(fields), units, strict=False))
    require(seconds > 0, f"sweep.max_time={value}: seconds, or 'hours:minutes:seconds', above 0")
    return seconds


def format_duration(seconds: float) -> str:
    """Seconds as 4.2 s, 3 min 20 s or 1 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
