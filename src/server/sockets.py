"""The address that a server is reached at; without torch, so that what does not go is said at once."""

import errno
import socket

from src.errors import InputError

HOSTS = "give an address of this machine, 127.0.0.1 for itself alone, 0.0.0.0 for all of its addresses"


def open_socket(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet. Raises InputError if the port is taken or the host is not of here."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind)
    except (OSError, UnicodeError, OverflowError) as error:
        raise InputError(f"host={host}: there is no such address ({error}); {HOSTS}") from None
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(1)  # two sockets may be bound to one port, but only one may listen
        found.set_inheritable(False)
    except OSError as error:
        found.close()
        raise bind_error(host, port, error) from None
    return found


def bind_error(host: str, port: int, error: OSError) -> InputError:
    """What to say where an address cannot be listened on."""
    if error.errno == errno.EADDRINUSE:
        return InputError(f"port={port} is in use on {host}: stop what listens there, give another port, or port=0")
    if error.errno == errno.EACCES:
        return InputError(f"port={port} is not for everybody: give one above 1023")
    return InputError(f"host={host} port={port} cannot be used ({error.strerror or error}): {HOSTS}")


def address_of(bound: socket.socket) -> str:
    """http://host:port of a socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
