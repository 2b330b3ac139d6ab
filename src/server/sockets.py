"""The socket a server listens on, opened before torch is imported: a wrong address is an error at once."""

import errno
import socket

from src.errors import InputError

HOSTS = "give an address of this machine: 127.0.0.1 for this machine alone, 0.0.0.0 for every address it has"


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
