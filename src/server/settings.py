"""Limits of a server, the names it is called by, and its token."""

from dataclasses import dataclass

from src.errors import InputError, number, positive_int

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MAX_PICTURES = 32  # in one request
MIN_TOKEN = 16  # characters; a shorter token can be guessed
TOKEN_HINT = 'python -c "import secrets; print(secrets.token_urlsafe())" makes one'


@dataclass(frozen=True)
class Settings:
    """Limits and names of a server.

    body_bytes: largest body of a request. batch: pictures that are classified at once. waiting: pictures that may wait
    beside them; more are rejected. deadline_s: from the head of a request to its response, waiting included.
    connections: open at a time. hosts: names accepted in a Host header; empty accepts any. token: the bearer token that
    requests must send; None for no token.
    """

    body_bytes: int = 1 << 20
    batch: int = 16
    waiting: int = 32
    deadline_s: float = 5.0
    connections: int = 256
    hosts: frozenset[str] = frozenset(LOOPBACK)
    token: str | None = None

    def __post_init__(self):
        for key in ("body_bytes", "batch", "waiting", "connections"):
            positive_int(key, getattr(self, key))
        number("deadline_s", self.deadline_s, above=0, most=600, unit="seconds")

    @property
    def capacity(self) -> int:
        """Pictures in the server at a time; an idle server always accepts a request of MAX_PICTURES."""
        return max(self.batch + self.waiting, MAX_PICTURES)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server bound to `host`."""
    return host in LOOPBACK or (host.startswith("127.") and host.replace(".", "").isdigit())


def read_token(text: str | None, origin: str) -> str | None:
    """A token without the blanks around it; None for none. Raises InputError if no header can carry it."""
    if text is None:
        return None
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(f"{origin}: a token is one word of printable ASCII; {TOKEN_HINT}")
    return token
