"""Listening: HTTP or HTTPS, in this one process."""

from pathlib import Path

import uvicorn
from fastapi import FastAPI

__all__ = ["server"]

_CONNECTIONS = 200
_FAREWELL_S = 10


def server(
    app: FastAPI, host: str, port: int, certificate: Path | None = None, private_key: Path | None = None
) -> uvicorn.Server:
    """What serves ``app`` once it is run, until a signal or ``should_exit``."""
    configuration = uvicorn.Config(
        app,
        host,
        port,
        ssl_certfile=certificate,
        ssl_keyfile=private_key,
        # The app writes its own lines, in which no header and no query can stand.
        access_log=False,
        log_config=None,
        # Whoever connects could claim to come from anywhere.
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_FAREWELL_S,
    )
    return uvicorn.Server(configuration)
