"""What went wrong, as RFC 9457 problem details: one sentence that names the field, the value and the remedy."""

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from db.errors import DatabaseDown
from nightbench.access import Conflict, Forbidden, NotFound
from nightbench.errors import NightbenchError, UsageError

__all__ = ["MEDIA_TYPE", "Problem", "Unavailable", "answer_problems", "problem", "problems"]

MEDIA_TYPE = "application/problem+json"
_log = logging.getLogger("nightbench.api")
_SHOWN = 80
"""Characters of a wrong value that are said back: enough to know it again."""


class Unavailable(NightbenchError):
    """What is needed does not answer now; the same may be asked again later."""


class Problem(BaseModel):
    """RFC 9457. There is no ``type`` beyond the status: the sentence says the rest."""

    title: str = Field(description="The status in words.", examples=["Not Found"])
    status: int = Field(ge=400, le=599, examples=[404])
    detail: str = Field(
        description="What is wrong and what to do about it, in one sentence.",
        examples=["run: there is no run 'x'; GET /api/v1/runs lists them"],
    )


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer that says what went wrong."""
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail)
    return Response(body.model_dump_json(), status, dict(headers or {}), MEDIA_TYPE)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What an operation's description says of its failures: those of every operation, and these."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    everywhere = (400, 401, 403, 422, 429, 500, 503)
    return {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in sorted({*everywhere, *statuses})
    }


def answer_problems(app: FastAPI) -> None:
    """Let ``app`` answer every failure as a problem."""

    @app.exception_handler(HTTPException)
    def said(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(_methods(app, request)) or headers.get("Allow", "")
        return problem(error.status_code, _OWN_WORDS.get(str(error.detail), str(error.detail)), headers)

    @app.exception_handler(RequestValidationError)
    def misread(_: Request, error: RequestValidationError) -> Response:
        return problem(422, "; ".join(dict.fromkeys(map(_sentence, error.errors()))))

    @app.exception_handler(NightbenchError)
    def named(_: Request, error: NightbenchError) -> Response:
        if isinstance(error, DatabaseDown | Unavailable):
            return problem(503, str(error), {"Retry-After": "5"})
        status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
        return problem(status, str(error))

    @app.exception_handler(Exception)
    def unforeseen(request: Request, error: Exception) -> Response:
        # Its words may hold anything, so they go to the log and not to whoever asked.
        _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return problem(500, "nightbench itself failed; its log says why")


# Starlette's, for what no route takes.
_OWN_WORDS = {
    "Not Found": "there is nothing at this path; GET /docs says what there is",
    "Method Not Allowed": "this path is not asked so; GET /docs says how",
}
_STATUS: Mapping[type[NightbenchError], int] = {
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    UsageError: 400,
}


def _methods(app: FastAPI, request: Request) -> list[str]:
    """All that this path is asked by: the router knows those of one operation only (RFC 9110, 10.2.1)."""
    template = getattr(request.scope.get("route"), "path", "")
    return sorted(method.upper() for method in app.openapi()["paths"].get(template, {}))


def _sentence(error: Mapping[str, Any]) -> str:
    """One of pydantic's findings in words."""
    if error["type"] == "json_invalid":
        return f"body: it is no JSON: {error.get('ctx', {}).get('error', error['msg'])}; send one JSON document"
    kind, *rest = error["loc"]
    where = _path(rest) or str(kind)
    match error["type"]:
        case "extra_forbidden":
            return f"{where}: is unknown; leave it out"
        case "missing":
            return f"{where}: is missing; give it"
    given = error.get("input")
    value = "" if isinstance(given, dict | list) else f" {_shown(given)} is wrong;"
    return f"{where}:{value} {error['msg'][:1].lower()}{error['msg'][1:]}"


def _path(parts: Sequence[int | str]) -> str:
    return ".".join(map(str, parts))


def _shown(value: object) -> str:
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
