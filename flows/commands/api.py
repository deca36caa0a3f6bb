"""`nightbench api`."""

import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from cyclopts import Parameter
from cyclopts.validators import Number

from flows.console import open_console
from flows.prefect_settings import configure
from flows.registry import load_catalog
from flows.services import answers, running_prefect
from nightbench.errors import NightbenchError, UsageError
from nightbench.settings import Settings

if TYPE_CHECKING:
    from api.services import Services

__all__ = ["api", "services_for"]


def api(*, host: str = "127.0.0.1", port: Annotated[int, Parameter(validator=Number(gte=1, lte=65535))] = 8080) -> None:
    """Serve results, runs to start and Prometheus metrics over HTTP, until it is stopped.

    Parameters
    ----------
    host
        Address to listen on. Beyond this machine it takes TLS: NIGHTBENCH_API_CERTIFICATE and
        NIGHTBENCH_API_PRIVATE_KEY.
    port
        Port to listen on.
    """
    from api.app import create_app
    from api.binding import check_binding, check_certificate
    from api.serve import server
    from api.services import Limits

    settings = Settings.from_environment()
    certificate, private_key = settings.api_certificate, settings.api_private_key
    if certificate and private_key:
        check_certificate(certificate, private_key)
    check_binding(host, port, tls=certificate is not None)
    services = services_for(settings, port)
    if not any(key.revoked_at is None for key in services.store.list_keys()):
        open_console().print("there is no key yet; `nightbench api-keys add NAME --role admin` makes one")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    # Prefect's client says every request of its own.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    limits = Limits(of_key=settings.api_key_limit, of_address=settings.api_address_limit)
    scheme = "https" if certificate else "http"
    open_console().print(f"API: {scheme}://{host}:{port}/docs", soft_wrap=True)
    server(create_app(services, limits), host, port, certificate, private_key).run()


def services_for(settings: Settings, port: int) -> "Services":
    """What the API works on, on this machine."""
    from api.services import Services
    from db.api_store import ApiStore
    from db.connect import database_url
    from db.migrate import migrate
    from tasks.live import live_folder

    url = database_url(settings)
    migrate(url)

    prefect = _Prefect(settings, os.environ.get("PREFECT_API_URL"))
    first, last = settings.api_inference_ports or settings.server_ports or (0, -1)
    return Services(
        store=ApiStore(url),
        catalog=load_catalog(settings),
        start_run=prefect.start,
        orchestrator_answers=prefect.answers,
        spool=settings.spool,
        live=live_folder(settings),
        own_ports=lambda: frozenset({port, *prefect.ports()}),
        inference_ports=range(first, last + 1),
    )


@dataclass(frozen=True, slots=True)
class _Prefect:
    """The Prefect server, looked for every time: it may be started, or started elsewhere, while the API runs."""

    settings: Settings
    own: str | None
    """The user's own server, if there is one."""

    def address(self) -> str | None:
        ours = None if self.own else running_prefect(self.settings)
        return self.own or (ours.api_url if ours else None)

    def answers(self) -> bool:
        address = self.address()
        return address is not None and answers(address)

    def ports(self) -> set[int]:
        port = urlsplit(self.address() or "").port
        return {port} if port else set()

    def start(self, suite: str, parameters: Mapping[str, object], idempotency_key: str | None) -> str:
        """Implements `api.services.Services.start_run`."""
        from api.problems import Unavailable

        address = self.address()
        if address is None or not answers(address):
            raise Unavailable("Prefect: no server answers; `nightbench up` starts one")
        configure(self.settings, address)
        from prefect.settings import PREFECT_API_URL, temporary_settings

        from flows.trigger import start_run

        # Prefect read its settings once; this server may have come up since.
        with temporary_settings({PREFECT_API_URL: address}):
            try:
                return start_run(suite, parameters, idempotency_key=idempotency_key)
            except UsageError:
                raise
            except NightbenchError as error:
                raise Unavailable(str(error)) from error
