"""Asking Prefect for a run: what is said when no answer comes, and that asking twice makes one run."""

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prefect.client import orchestration
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE,
    temporary_settings,
)

from flows import services
from flows.trigger import start_run
from nightbench.errors import NightbenchError, UsageError

URL = "http://127.0.0.1:4200/api"
Answer = Callable[[httpx.Request], httpx.Response]


class Prefect:
    """One deployment, and what becomes of a request for a run of it."""

    def __init__(self) -> None:
        self.creates: Answer = lambda _: httpx.Response(201, json={"id": str(uuid4()), "flow_id": str(uuid4())})
        self.finds: Answer = lambda _: httpx.Response(200, json=[_deployment()])
        self.asked: list[dict[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/create_flow_run"):
            self.asked.append(json.loads(request.content))
            return self.creates(request)
        if request.url.path.endswith("/deployments/filter"):
            return self.finds(request)
        return httpx.Response(404, json={})


def _deployment() -> dict[str, object]:
    return {
        "id": str(uuid4()),
        "name": "smoke",
        "flow_id": str(uuid4()),
        "tags": ["suite:smoke"],
        "work_pool_name": "cpu",
    }


@pytest.fixture
def prefect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Prefect]:
    server = Prefect()

    def client(sync_client: bool) -> orchestration.SyncPrefectClient:
        assert sync_client
        return orchestration.SyncPrefectClient(URL, httpx_settings={"transport": httpx.MockTransport(server)})

    monkeypatch.setattr(orchestration, "get_client", client)
    monkeypatch.setattr(services, "answers", lambda _: True)
    changed = {PREFECT_API_URL: URL, PREFECT_CLIENT_MAX_RETRIES: 0, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: False}
    with temporary_settings(changed):
        yield server


def test_a_key_goes_to_prefect(prefect: Prefect) -> None:
    assert start_run("smoke", {"seed": 7}, idempotency_key="tonight")
    assert [(each["parameters"], each["idempotency_key"]) for each in prefect.asked] == [({"seed": 7}, "tonight")]


def test_what_prefects_own_client_sends_again_is_one_run(prefect: Prefect) -> None:
    answers = iter([httpx.Response(503, headers={"Retry-After": "0"}), httpx.Response(503)])
    prefect.creates = lambda _: next(answers)
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 1}), pytest.raises(NightbenchError):
        start_run("smoke", {})
    first, again = (each["idempotency_key"] for each in prefect.asked)
    assert first == again
    prefect.creates = lambda _: httpx.Response(503)
    with pytest.raises(NightbenchError):
        start_run("smoke", {})
    assert prefect.asked[-1]["idempotency_key"] != first


def _times_out(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("no answer", request=request)


@pytest.mark.parametrize("answer", [_times_out, lambda _: httpx.Response(500)])
def test_a_run_that_may_have_been_made_is_not_said_to_be_refused(prefect: Prefect, answer: Answer) -> None:
    prefect.creates = answer
    with pytest.raises(NightbenchError, match="may have made the run before; ask again with the same") as caught:
        start_run("smoke", {})
    assert not isinstance(caught.value, UsageError)


@pytest.mark.parametrize("answer", [_times_out, lambda _: httpx.Response(500)])
def test_before_it_was_asked_for_nothing_was_started(prefect: Prefect, answer: Answer) -> None:
    prefect.finds = answer
    with pytest.raises(NightbenchError, match="nothing was started: try again") as caught:
        start_run("smoke", {})
    assert (isinstance(caught.value, UsageError), prefect.asked) == (False, [])


def test_a_form_that_refuses_is_a_refusal(prefect: Prefect) -> None:
    said = "Validation failed for field 'seed'. Failure reason: 'x' is not of type 'integer'"
    prefect.creates = lambda _: httpx.Response(409, json={"detail": said})
    with pytest.raises(UsageError, match="seed: 'x' is not of type 'integer'"):
        start_run("smoke", {"seed": "x"})
