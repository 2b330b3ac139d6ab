"""How much work may be in the server at a time."""

import time

from src.server.errors import Refusal, busy


class Admission:
    """Counts pictures that wait or are being read; used by the event loop's thread only.

    places: the most of them. A picture keeps its place until it has been dealt with, even where the one who sent it has
    been told that it took too long: what is bounded is the work, not the patience.
    """

    def __init__(self, places: int):
        self.places, self.taken = places, 0
        self.closed = False

    def check(self, count: int = 1) -> None:
        """Raise Refusal: 429 where `count` pictures have no place, 503 once the server is on its way out."""
        if self.closed:
            raise Refusal(503, "the server is shutting down", "draining", {"retry-after": "1"})
        if self.taken + count > self.places:
            raise busy()

    def enter(self, count: int) -> None:
        """Take places, or raise as `check` does."""
        self.check(count)
        self.taken += count

    def leave(self, count: int) -> None:
        """Give places back."""
        self.taken -= count


def left(until: float) -> float:
    """Seconds until a point of time.monotonic(), at least 0."""
    return max(0.0, until - time.monotonic())
