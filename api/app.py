"""The app, put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import anyio.to_thread
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.responses import HTMLResponse

from api.backlog import Waiting
from api.docs_page import docs_page
from api.guard import Gate
from api.key_memory import KeyMemory
from api.middleware import Entrance
from api.problems import Problem, answer_problems
from api.progress import SpoolWatch
from api.request_metrics import RequestMetrics
from api.routes import benchmark, catalog, inference, keys, nights, status
from api.run_metrics import RunMetrics
from api.services import Limits, Services

__all__ = ["create_app"]

_THREADS = 10
"""Requests that are worked on at once: as many as the store keeps connections for, within what Postgres gives us."""
_DESCRIPTION = "Nights of benchmarks: what was measured, what is wrong, and what is going on."


class _Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """With the one shape of all failures, to which the operations' descriptions refer."""
        document = super().openapi()
        document.setdefault("components", {}).setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
        return document


def create_app(services: Services, limits: Limits | None = None) -> FastAPI:
    """The app that serves ``services``, in one process: what is counted is counted in its memory."""
    limits = limits or Limits()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
        yield
        services.store.close()

    app = _Api(
        title="nightbench",
        version=version("nightbench"),
        description=_DESCRIPTION,
        lifespan=lifespan,
        # FastAPI's own pages fetch their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    registry = CollectorRegistry()
    app.state.services = services
    app.state.gate = Gate(limits)
    app.state.keys = KeyMemory()
    app.state.registry = registry
    app.state.watch = SpoolWatch(services.spool)
    app.state.waiting = Waiting(services.spool, app.state.watch, services.store.ends)
    registry.register(RunMetrics(services.store, app.state.watch, app.state.waiting))
    for each in (catalog, nights, status, benchmark, inference, keys):
        app.include_router(each.router)
    app.include_router(status.prometheus)
    answer_problems(app)
    app.add_middleware(Entrance, gate=app.state.gate, metrics=RequestMetrics(registry), body_bytes=limits.body_bytes)

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(docs_page(app.openapi()))

    return app
