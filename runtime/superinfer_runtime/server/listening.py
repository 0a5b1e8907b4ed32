"""The server's socket, bound before the model is loaded: a taken port is told at once."""

import errno
import socket


class AddressError(Exception):
    """The address cannot be listened on; the message says why and what to do."""


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to ``host``:``port``; connections are refused until it listens.

    Raises:
        AddressError: the port is in use, or the address is not one of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # Bound is not yet taken for Linux: only listening shows whether another one listens.
        with _bound(family, kind, protocol, address) as trial:
            trial.listen(1)
        return _bound(family, kind, protocol, address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressError(
                f"port {port} on {host} is in use; stop what listens there, or choose another "
                "with --port"
            ) from error
        raise AddressError(f"cannot listen on {host}:{port}: {error.strerror}") from error


def _bound(family: int, kind: int, protocol: int, address: object) -> socket.socket:
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)  # type: ignore[arg-type]
    except BaseException:
        listener.close()
        raise
    return listener
