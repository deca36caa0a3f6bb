"""Where the API may listen, and by what certificate: checked before anything is opened."""

import socket
import ssl
import stat
from ipaddress import ip_address
from pathlib import Path

from nightbench.errors import UsageError

__all__ = ["check_binding", "check_certificate"]

_TLS = "set NIGHTBENCH_API_CERTIFICATE and NIGHTBENCH_API_PRIVATE_KEY"


def check_binding(host: str, port: int, *, tls: bool) -> None:
    """`UsageError` where keys would cross a network in the clear, or nobody can listen."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--host: {host!r} is no address of this machine: {error}; give one that is") from error
    addresses = {str(address[0]).partition("%")[0] for *_, address in found}
    if not tls and not all(ip_address(each).is_loopback for each in addresses):
        raise UsageError(
            f"--host: {host!r} is open to others, who would read keys off plain HTTP; {_TLS}, or leave it out"
        )
    family, _, _, _, address = found[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the server itself opens it.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise UsageError(f"--port: {host}:{port} cannot be had: {error.strerror}; choose another") from error


def check_certificate(certificate: Path, private_key: Path) -> None:
    """`UsageError` for files that are no certificate and its key, or a key that others may read."""
    try:
        mode = private_key.stat().st_mode
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, private_key, password=_no_password)
    except ssl.SSLError as error:
        why = error.reason or str(error)
        raise UsageError(
            f"TLS: {certificate} and {private_key} are no certificate and its private key: {why}"
        ) from error
    except OSError as error:
        raise UsageError(
            f"TLS: {error.filename or certificate} cannot be read: {error.strerror}; correct it"
        ) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(f"TLS: {private_key} is open to other users of this machine; chmod 600 it")


def _no_password() -> str:
    raise UsageError("TLS: the private key has a password, which nobody is here to type; give one without")
