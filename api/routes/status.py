"""How things stand now."""

from dataclasses import asdict
from importlib.metadata import version
from typing import Annotated

from fastapi import Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.guard import guarded, services_of
from api.problems import problems
from api.services import Services
from api.shapes import RunGoingOn, Status
from nightbench.access import Role

__all__ = ["prometheus", "router"]

router = guarded(Role.VIEWER)
prometheus = guarded(Role.VIEWER, prefix="", in_outages=True)


@router.get("/status", tags=["status"], responses=problems())
def status(request: Request, services: Annotated[Services, Depends(services_of)]) -> Status:
    """What goes on, how the newest runs ended, what is wrong, and what waits to be stored."""
    store, watch = services.store, request.app.state.watch
    backlog = request.app.state.waiting.backlog()
    return Status(
        version=version("nightbench"),
        orchestrator="up" if services.orchestrator_answers() else "down",
        going_on=tuple(RunGoingOn(**asdict(each)) for each in watch.running()),
        newest=tuple(store.newest_runs()),
        newest_good=tuple(store.newest_good()),
        live_alerts=store.live_alerts(),
        spool_files=backlog.files,
        spool_bytes=backlog.size_bytes,
    )


@prometheus.get(
    "/metrics",
    tags=["status"],
    response_class=Response,
    responses={200: {"description": "OK", "content": {"text/plain": {"schema": {"type": "string"}}}}, **problems()},
)
def scrape(request: Request) -> Response:
    """Runs, alerts, the spool and the API's own requests, for Prometheus."""
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)
