"""What a server checks before torch is imported, so that errors come at once: limits, names, token and socket."""

import errno
import socket
from dataclasses import dataclass

from src.errors import InputError, number, positive_int

HOSTS = "give an address of this machine: 127.0.0.1 for this machine alone, 0.0.0.0 for every address it has"
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


def open_socket(host: str, port: int) -> socket.socket:
    """A socket that holds its port. Raises InputError if the port is taken or the host is not this machine."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
    except (OSError, UnicodeError, OverflowError) as error:
        raise InputError(f"host={host}: there is no such address ({error}); {HOSTS}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1)  # two sockets may be bound to one port, but only one may listen
        listener.set_inheritable(False)
    except OSError as error:
        listener.close()
        raise bind_error(host, port, error) from None
    return listener


def bind_error(host: str, port: int, error: OSError) -> InputError:
    """The InputError for an address that cannot be listened on."""
    if error.errno == errno.EADDRINUSE:
        return InputError(f"port={port} is in use on {host}: stop the other server, give another port, or port=0")
    if error.errno == errno.EACCES:
        return InputError(f"port={port} needs privileges: give a port above 1023")
    return InputError(f"host={host} port={port} cannot be used ({error.strerror or error}): {HOSTS}")


def url_of(listener: socket.socket) -> str:
    """http://host:port of a socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
