"""How many pictures the server works on at a time."""

import time

from src.server.errors import HTTPError


class Admission:
    """Count the pictures that wait or are being classified; only the event loop's thread uses it.

    capacity: the most pictures at a time. A picture counts until its work is done, even if its client has already got
    a 504: the limit is on work, not on requests.
    """

    def __init__(self, capacity: int):
        self.capacity, self.in_use = capacity, 0
        self.closed = False

    def check(self, count: int = 1) -> None:
        """Raise HTTPError: 429 if `count` more pictures do not fit, 503 once the server shuts down."""
        if self.closed:
            raise HTTPError(503, "the server is shutting down", "draining", {"retry-after": "1"})
        if self.in_use + count > self.capacity:
            raise HTTPError(429, "the server is at capacity: try again in a second", headers={"retry-after": "1"})

    def acquire(self, count: int) -> None:
        """Count `count` more pictures, or raise as `check` does."""
        self.check(count)
        self.in_use += count

    def release(self, count: int) -> None:
        """Count `count` pictures less."""
        self.in_use -= count


def seconds_until(deadline: float) -> float:
    """Seconds until `deadline`, a value of time.monotonic(); at least 0."""
    return max(0.0, deadline - time.monotonic())
