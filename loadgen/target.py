"""Where a load goes, as a user writes it: a URL that is checked before anything is sent there."""

import socket
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from nightbench.errors import UsageError

__all__ = ["Target"]

_CONNECT_S = 3.0


@dataclass(frozen=True, slots=True)
class Target:
    """An HTTP or gRPC server without TLS."""

    host: str
    port: int
    path: str = ""
    """With its query; empty where the URL names none."""

    @classmethod
    def parse(cls, url: str) -> "Target":
        """``http://HOST:PORT[/PATH]``, ``grpc://HOST:PORT`` or ``HOST:PORT``; `UsageError` for anything else."""
        remedy = "write http://HOST:PORT or http://HOST:PORT/PATH"
        if not url.isprintable() or " " in url:
            raise UsageError(f"URL {url!r}: it holds characters that no URL has; {remedy}")
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            port = parts.port
        except ValueError as error:
            raise UsageError(f"URL {url!r}: {error}; {remedy}") from error
        if parts.scheme == "https":
            raise UsageError(f"URL {url!r}: TLS is not spoken; give the server's plain http:// address")
        if parts.scheme not in ("http", "grpc"):
            raise UsageError(f"URL {url!r}: the scheme {parts.scheme!r} is unknown; {remedy}")
        if parts.username is not None or parts.fragment:
            raise UsageError(f"URL {url!r}: a user name or a fragment is not sent; {remedy}")
        if not parts.hostname or not port:
            raise UsageError(f"URL {url!r}: the {'port' if parts.hostname else 'host'} is missing; {remedy}")
        path = "" if parts.path == "/" and not parts.query else parts.path
        return cls(parts.hostname, port, f"{path or '/'}?{parts.query}" if parts.query else path)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def reach(self, *, allow_remote: bool) -> str:
        """The host to connect to; `UsageError` unless something listens there, on this machine or as allowed.

        It is the host as given, or the first of its other addresses where only that one answers: a ``localhost`` that
        means both ``::1`` and ``127.0.0.1``, say.
        """
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise UsageError(f"host {self.host!r} cannot be found: {why}; give its address") from error
        addresses = [str(sockaddr[0]) for *_, sockaddr in found]
        # A scope such as %eth0 is no part of the address itself.
        if not allow_remote and not all(ip_address(each.partition("%")[0]).is_loopback for each in addresses):
            raise UsageError(
                f"host {self.host!r} is not this machine's loopback: load on somebody else's server can do harm; "
                "add --allow-remote if you may do that"
            )
        why = ""
        for number, address in enumerate(addresses):
            try:
                socket.create_connection((address, self.port), _CONNECT_S).close()
            except OSError as error:
                why = why or error.strerror or "no answer in time"
            else:
                return address if number else self.host
        raise UsageError(f"nothing accepts connections at {self}: {why}; start the server first")
