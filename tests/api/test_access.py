"""Who is let in, how often, and what stays on record of it."""

from datetime import datetime
from typing import Any

import pytest

from api.key_memory import KeyMemory
from api.services import Limits
from nightbench.access import ApiKey, Outcome, Role
from tests.api.conftest import NOW, NewSite, Site

READS = ["models", "servers", "runs", "runs/night-1", "measurements", "metrics", "status"]
CHANGES: list[tuple[str, str, Any, Role]] = [
    ("POST", "/api/v1/benchmark", {"suite": "smoke"}, Role.OPERATOR),
    ("POST", "/api/v1/inference", {"model": "tiny_cnn", "servers": []}, Role.OPERATOR),
    ("POST", "/api/v1/keys", {"name": "x", "role": "viewer"}, Role.ADMIN),
    ("DELETE", "/api/v1/keys/0123456789", None, Role.ADMIN),
]


@pytest.mark.parametrize("path", READS)
def test_a_viewer_reads_everything(site: Site, path: str) -> None:
    status, body = site.ask(f"/api/v1/{path}", Role.VIEWER)
    assert status == 200, body


def test_without_a_key_nothing_is_told(site: Site) -> None:
    for path in ["/metrics", *(f"/api/v1/{each}" for each in [*READS, "keys", "audit"])]:
        for headers in ({}, {"Authorization": "Bearer nb_0123456789_" + "A" * 43}, {"Authorization": "Basic YTpi"}):
            answer = site.client.get(path, headers=headers)
            assert answer.status_code == 401, path
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert "nightbench api-keys add" in answer.json()["detail"]


def test_two_keys_at_once_are_no_key(site: Site) -> None:
    headers = [("Authorization", f"Bearer {site.keys[Role.VIEWER]}"), ("Authorization", "Bearer x")]
    assert site.client.get("/api/v1/models", headers=headers).status_code == 401


@pytest.mark.parametrize(("method", "path", "body", "needed"), CHANGES)
def test_a_change_takes_its_role_and_a_refusal_is_on_record(
    site: Site, method: str, path: str, body: Any, needed: Role
) -> None:
    for role in Role:
        status, answer = site.ask(path, role, method, body)
        assert (status == 403) is (not role.covers(needed)), answer
    refused = [entry for entry in site.store.audit(20) if "needs the role" in entry.detail]
    assert {entry.who for entry in refused} == {f"a-{role}" for role in Role if not role.covers(needed)}
    assert all(entry.outcome is Outcome.REFUSED and entry.address for entry in refused)


def test_a_refusal_is_on_record_whatever_was_asked(site: Site) -> None:
    assert site.ask("/api/v1/keys/%00%F0", Role.VIEWER, "DELETE")[0] == 403
    assert site.store.audit(1)[0].action == "DELETE /api/v1/keys/{key_id}"


def test_only_admins_see_keys_and_the_log(site: Site) -> None:
    for path in ("/api/v1/keys", "/api/v1/audit"):
        assert [site.ask(path, role)[0] for role in Role] == [403, 403, 200]


def test_a_key_is_shown_once_works_and_can_be_taken_back(site: Site) -> None:
    status, made = site.ask("/api/v1/keys", method="POST", json={"name": "grafana", "role": "viewer"})
    assert status == 201
    secret, key_id = made["secret"], made["key"]["key_id"]
    headers = {"Authorization": f"Bearer {secret}"}
    assert site.client.get("/api/v1/models", headers=headers).status_code == 200
    for path in ("/api/v1/keys", "/api/v1/audit"):
        assert secret not in str(site.ask(path)[1])
    assert site.ask("/api/v1/keys", method="POST", json={"name": "grafana", "role": "admin"})[0] == 409
    assert site.ask(f"/api/v1/keys/{key_id}", method="DELETE")[0] == 200
    assert site.client.get("/api/v1/models", headers=headers).status_code == 401
    said = [(entry.action, entry.outcome, entry.who) for entry in site.store.audit(3)]
    assert said == [
        ("key.revoke", Outcome.DONE, "a-admin"),
        ("key.add", Outcome.REFUSED, "a-admin"),
        ("key.add", Outcome.DONE, "a-admin"),
    ]


def test_no_key_revokes_itself(site: Site) -> None:
    own = site.keys[Role.ADMIN].split("_")[1]
    status, body = site.ask(f"/api/v1/keys/{own}", method="DELETE")
    assert (status, "the key you ask with" in body["detail"]) == (409, True)
    assert site.ask("/api/v1/keys")[0] == 200


def test_a_key_that_asks_too_often_waits_and_others_do_not(new_site: NewSite) -> None:
    site = new_site(Limits(of_key="3/hour"))
    answers = [site.client.get("/api/v1/models", headers=_bearer(site, Role.VIEWER)) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert 3500 < int(answers[-1].headers["retry-after"]) <= 3600
    assert "with this key: 3 per 1 hour" in answers[-1].json()["detail"]
    assert site.ask("/api/v1/models", Role.OPERATOR)[0] == 200


def test_an_address_that_asks_too_often_waits_whatever_it_asks(new_site: NewSite) -> None:
    site = new_site(Limits(of_address="3/hour"))
    paths = ["/docs", "/api/v1/models", "/nowhere", "/docs"]
    assert [site.client.get(path).status_code for path in paths] == [200, 401, 404, 429]
    # What a header claims to be the address is not believed.
    assert site.client.get("/docs", headers={"X-Forwarded-For": "192.0.2.1"}).status_code == 429


def test_wrong_keys_are_counted_and_good_ones_still_work(new_site: NewSite) -> None:
    site = new_site(Limits(wrong_keys="2/hour"))
    wrong = {"Authorization": "Bearer wrong"}
    assert [site.client.get("/api/v1/models", headers=wrong).status_code for _ in range(3)] == [401, 401, 429]
    assert site.ask("/api/v1/models", Role.VIEWER)[0] == 200


def test_a_wrong_key_asks_the_database_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    find = site.store.find_key

    def counted(secret: str, now: datetime) -> ApiKey | None:
        asked.append(secret)
        return find(secret, now)

    monkeypatch.setattr(site.store, "find_key", counted)
    wrong = "nb_0123456789_" + "A" * 43
    for _ in range(5):
        answer = site.client.get("/api/v1/models", headers={"Authorization": f"Bearer {wrong}"})
        assert answer.status_code == 401
    assert asked == [wrong]
    assert site.ask("/api/v1/models", Role.VIEWER)[0] == 200


def test_what_was_wrong_is_forgotten_after_a_while_and_what_is_revoked_is_wrong() -> None:
    now_s = [0.0]
    memory = KeyMemory(lambda: now_s[0])
    key = ApiKey("0123456789", "a", Role.VIEWER, NOW, "tests")
    memory.found("a", key)
    assert (memory.good("a"), memory.is_wrong("a")) == (key, False)
    memory.found("a", None)
    assert (memory.good("a"), memory.is_wrong("a")) == (None, True)
    now_s[0] = 60
    assert not memory.is_wrong("a")
    for number in range(5000):
        memory.found(f"wrong {number}", None)
    assert (memory.is_wrong("wrong 0"), memory.is_wrong("wrong 4999")) == (False, True)


def test_an_unread_body_is_not_taken_in(new_site: NewSite) -> None:
    site = new_site(Limits(body_bytes=1000))
    body = b'{"suite": "' + b"x" * 2000 + b'"}'
    answer = site.client.post("/api/v1/benchmark", content=body, headers=_bearer(site, Role.OPERATOR))
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
    chunked = site.client.post("/api/v1/benchmark", content=iter([body]), headers=_bearer(site, Role.OPERATOR))
    assert chunked.status_code == 413
    # Without a key not even that is looked at.
    assert site.client.post("/api/v1/benchmark", content=b"{").status_code == 401


def _bearer(site: Site, role: Role) -> dict[str, str]:
    return {"Authorization": f"Bearer {site.keys[role]}"}
