"""What a server allows, in one place."""

from dataclasses import dataclass

from src.errors import InputError, is_integer, is_number, require

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MOST_PICTURES = 32  # in one request
SHORTEST = 16  # characters of a token that keeps strangers out
HOW = 'python -c "import secrets; print(secrets.token_urlsafe())" makes one'


@dataclass(frozen=True)
class Settings:
    """Limits and names of a server.

    body_bytes: of a request. batch: pictures that are read and classified in one go. waiting: pictures that may wait
    beside them; more are refused at once. deadline_s: from a request's first byte to its answer, waiting counted.
    connections: open ones at a time. hosts: names that a Host header may have; empty for any. token: what requests must
    bring, None for none.
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
            value = getattr(self, key)
            require(is_integer(value) and value >= 1, f"{key}={value}: a whole number of at least 1")
        require(
            is_number(self.deadline_s) and 0 < self.deadline_s <= 600,
            f"deadline_s={self.deadline_s}: seconds, above 0 and at most 600",
        )

    @property
    def places(self) -> int:
        """Pictures that may be in the server at a time; a request of the most pictures always fits an idle one."""
        return max(self.batch + self.waiting, MOST_PICTURES)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server bound to `host`."""
    return host in LOOPBACK or (host.startswith("127.") and host.replace(".", "").isdigit())


def read_token(text: str | None, origin: str) -> str | None:
    """A token without the blanks around it; None for none. Raises InputError for one that no header can carry."""
    if text is None:
        return None
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(f"{origin}: a token is one word of printable ASCII; {HOW}")
    return token
