"""What goes wrong is one sentence that names the field, the value and the remedy."""

from pathlib import Path
from typing import Any

import pytest

from api.problems import Unavailable
from db import embedded
from nightbench.access import Outcome, Role
from nightbench.errors import UsageError
from tests.api.conftest import Site


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("runs?limit=0", 'limit: "0" is wrong; input should be greater than or equal to 1'),
        ("runs?limit=201", "less than or equal to 200"),
        ("runs?sute=smoke", "sute: is unknown; leave it out"),
        ("runs?since=yesterday", 'since: "yesterday" is wrong'),
        ("runs?since=1763600000", "write it as 2026-11-20T03:00:00Z"),
        ("runs?since=2026-11-20T00:00:00", "timezone"),
        ("runs?status=good", 'status: "good" is wrong'),
        ("runs?after=../../etc", "after:"),
        ("measurements?protocol=smoke-signals", "protocol:"),
        ("measurements?batch=two", 'batch: "two" is wrong'),
        ("runs/%00", "run_id:"),
    ],
)
def test_a_wrong_filter_is_refused(site: Site, path: str, words: str) -> None:
    status, body = site.ask(f"/api/v1/{path}")
    assert (status, body["status"], body["title"][:13]) == (422, 422, "Unprocessable")
    assert words in str(body["detail"])


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("runs?since=2026-11-21T00:00:00Z&until=2026-11-20T00:00:00Z", 400, "is not before until"),
        ("runs/night-9", 404, "run: there is no run 'night-9'"),
        ("runs?after=night-9", 404, "after: there is no run 'night-9'"),
        ("measurements?after=night-9:c1", 404, "after: there is no run 'night-9'"),
        ("nowhere", 404, "GET /docs says what there is"),
    ],
)
def test_what_cannot_be_answered_says_why(site: Site, path: str, status: int, words: str) -> None:
    answered, body = site.ask(f"/api/v1/{path}")
    assert (answered, words in str(body["detail"])) == (status, True), body


def test_a_body_that_is_no_json_or_has_a_wrong_field_is_refused(site: Site) -> None:
    headers = {"Authorization": f"Bearer {site.keys[Role.OPERATOR]}"}
    answer = site.client.post(
        "/api/v1/benchmark", content=b"{", headers={**headers, "Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["detail"][:20]) == (422, "body: it is no JSON:")
    for body, words in [
        ({}, "suite: is missing; give it"),
        ({"suite": "smoke", "sed": 1}, "sed: is unknown; leave it out"),
        ({"suite": "../../etc/passwd"}, 'suite: "../../etc/passwd" is wrong'),
        ({"suite": "smoke", "seed": "1"}, 'seed: "1" is wrong'),
        ({"suite": "smoke", "seed": True}, "seed: true is wrong"),
    ]:
        status, told = site.ask("/api/v1/benchmark", Role.OPERATOR, "POST", body)
        assert (status, words in str(told["detail"])) == (422, True), told
    assert site.starter.started == []


def test_a_run_is_started_and_kept_on_record(site: Site) -> None:
    status, body = site.ask("/api/v1/benchmark", Role.OPERATOR, "POST", {"suite": "smoke", "seed": 7})
    assert (status, body) == (202, {"flow_run_id": "flow-1", "suite": "smoke"})
    assert site.starter.started == [("smoke", {"seed": 7})]
    entry = site.store.audit(1)[0]
    assert (entry.action, entry.who, entry.outcome) == ("benchmark.start", "a-operator", Outcome.DONE)
    assert (entry.what, entry.detail) == ({"suite": "smoke", "seed": 7}, "flow run flow-1")


def test_a_run_that_is_asked_for_again_with_its_word_is_the_same_run(site: Site) -> None:
    def ask(role: Role = Role.OPERATOR, word: str = "tonight", **body: object) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {site.keys[role]}", "Idempotency-Key": word}
        answer = site.client.post("/api/v1/benchmark", headers=headers, json={"suite": "smoke", **body})
        return answer.status_code, answer.json()

    first, again = ask(), ask()
    assert first == again == (202, {"flow_run_id": "flow-1", "suite": "smoke"})
    assert site.store.audit(1)[0].what == {"suite": "smoke", "idempotency_key": "tonight"}
    # The same word of somebody else, or of another request, is another run's.
    for other in (ask(role=Role.ADMIN), ask(seed=7), ask(suite="nightly"), ask(word="tomorrow")):
        assert (other[0], other[1]["flow_run_id"] != "flow-1") == (202, True)
    assert len(site.starter.started) == 5
    assert "tonight" not in site.starter.keys
    status, body = ask(word="two words")
    assert (status, "Idempotency-Key" in body["detail"]) == (422, True), body


@pytest.mark.parametrize(
    ("error", "status", "outcome", "told"),
    [
        (UsageError("suite 'smoke': has no deployment"), 400, Outcome.REFUSED, "has no deployment"),
        (Unavailable("Prefect: no server answers"), 503, Outcome.FAILED, "no server answers"),
        (RuntimeError("password=hunter2"), 500, Outcome.FAILED, "nightbench itself failed"),
    ],
)
def test_a_run_that_cannot_be_started_is_on_record_too(
    site: Site, error: Exception, status: int, outcome: Outcome, told: str
) -> None:
    site.starter.fails = error
    answered, body = site.ask("/api/v1/benchmark", Role.OPERATOR, "POST", {"suite": "smoke"})
    assert (answered, told in str(body["detail"])) == (status, True)
    # What an unforeseen failure says may hold anything.
    assert "hunter2" not in str(body)
    assert site.store.audit(1)[0].outcome is outcome


def test_a_database_that_is_away_is_said_so_and_metrics_go_on(
    site: Site, postgres_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"Authorization": f"Bearer {site.keys[Role.VIEWER]}"}
    assert "nightbench_database_up 1.0" in site.client.get("/metrics", headers=headers).text
    embedded.stop(postgres_home)
    try:
        answer = site.client.get("/api/v1/runs", headers=headers)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "does not answer" in answer.json()["detail"]
        assert site.ask("/api/v1/benchmark", Role.OPERATOR, "POST", {"suite": "smoke"})[0] == 503
        assert site.starter.started == []
        scraped = site.client.get("/metrics", headers=headers)
        assert (scraped.status_code, "nightbench_database_up 0.0" in scraped.text) == (200, True)
        # A key that was not known before the database went is not let in.
        unknown: Any = {"Authorization": f"Bearer {site.keys[Role.ADMIN]}"}
        assert site.client.get("/metrics", headers=unknown).status_code == 503
    finally:
        embedded.start(postgres_home)
    assert site.client.get("/api/v1/runs", headers=headers).status_code == 200
    assert not any(secret in caplog.text for secret in site.keys.values())


def test_every_method_of_a_path_is_told(site: Site) -> None:
    answer = site.client.put("/api/v1/keys")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")


def test_the_page_of_the_document_names_every_operation_and_fetches_nothing(site: Site) -> None:
    page = site.client.get("/docs")
    for path, methods in site.client.get("/openapi.json").json()["paths"].items():
        for method in methods:
            assert f"{method.upper()} {path}" in page.text
    assert not any(word in page.text for word in ("<script", "src=", "href='http", "url(", "@import"))
    assert "default-src 'none'" in page.headers["content-security-policy"]
