"""Keys are kept as hashes, revoked for good, and every change stays written down."""

from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from db.access import AccessStore
from db.engine import open_engine
from nightbench.access import Actor, Conflict, NotFound, Outcome, Role
from nightbench.errors import UsageError
from tests.db.conftest import DAWN

ANNA = Actor("anna", address="127.0.0.1")


@pytest.fixture
def keys(url: str) -> Iterator[AccessStore]:
    with AccessStore(url) as opened:
        yield opened


def test_a_key_is_found_by_itself_alone_and_kept_as_its_hash(keys: AccessStore, url: str) -> None:
    made, secret = keys.add_key("grafana", Role.VIEWER, ANNA, DAWN)
    found = keys.find_key(secret, DAWN)
    assert found is not None
    assert (found.key_id, found.name, found.role) == (made.key_id, "grafana", Role.VIEWER)
    assert keys.find_key(secret[:-1] + ("A" if secret[-1] != "A" else "B"), DAWN) is None
    assert keys.find_key("", DAWN) is None
    with open_engine(url, pooled=False).connect() as connection:
        everything = str(connection.execute(text("SELECT * FROM api_keys")).all())
        everything += str(connection.execute(text("SELECT * FROM api_audit")).all())
    assert secret not in everything
    assert sha256(secret.encode()).hexdigest() in everything


def test_two_keys_differ_and_hold_256_bits(keys: AccessStore) -> None:
    secrets = {keys.add_key(f"key-{number}", Role.VIEWER, ANNA, DAWN)[1] for number in range(3)}
    assert len(secrets) == 3
    # 43 characters of base64 are the 32 bytes.
    assert {len(secret.split("_", 2)[2]) for secret in secrets} == {43}


def test_a_revoked_key_opens_nothing_and_frees_its_name(keys: AccessStore) -> None:
    made, secret = keys.add_key("ops", Role.ADMIN, ANNA, DAWN)
    with pytest.raises(Conflict, match="'ops' works already"):
        keys.add_key("ops", Role.VIEWER, ANNA, DAWN)
    gone = keys.revoke_key(made.key_id, ANNA, DAWN)
    assert (gone.revoked_at, gone.revoked_by) == (DAWN, "anna")
    assert keys.find_key(secret, DAWN) is None
    with pytest.raises(Conflict, match="revoked before"):
        keys.revoke_key(made.key_id, ANNA, DAWN)
    with pytest.raises(NotFound, match="'nobody'"):
        keys.revoke_key("nobody", ANNA, DAWN)
    again, _ = keys.add_key("ops", Role.VIEWER, ANNA, DAWN + timedelta(1))
    assert [key.key_id for key in keys.list_keys()] == [again.key_id, made.key_id]
    assert [key.key_id for key in keys.list_keys(after=again.key_id)] == [made.key_id]


@pytest.mark.parametrize("name", ["", "a b", "a\n", "-a", "x" * 65, "naïve"])
def test_a_name_is_checked(keys: AccessStore, name: str) -> None:
    with pytest.raises(UsageError, match="1 to 64 letters"):
        keys.add_key(name, Role.VIEWER, ANNA, DAWN)


def test_use_is_noted_once_a_minute(keys: AccessStore) -> None:
    _, secret = keys.add_key("grafana", Role.VIEWER, ANNA, DAWN)
    for seconds in (0, 30, 61):
        keys.find_key(secret, DAWN + timedelta(seconds=seconds))
        noted = keys.list_keys()[0].last_used_at
        assert noted == (DAWN if seconds < 60 else DAWN + timedelta(seconds=61))


def test_what_was_changed_is_written_down(keys: AccessStore) -> None:
    made, _ = keys.add_key("ops", Role.ADMIN, ANNA, DAWN)
    number = keys.begin_change(Actor("ops", made.key_id, "::1"), "benchmark.start", {"suite": "smoke"}, DAWN)
    begun = keys.audit(1)[0]
    assert (begun.number, begun.who, begun.key_id, begun.outcome) == (number, "ops", made.key_id, Outcome.BEGUN)
    assert begun.settled_at is None
    keys.settle_change(number, Outcome.FAILED, "no Prefect\0", DAWN + timedelta(seconds=1))
    settled, added = keys.audit(10)
    assert (settled.outcome, settled.detail, settled.what) == (Outcome.FAILED, "no Prefect\ufffd", {"suite": "smoke"})
    assert (added.action, added.outcome, added.address) == ("key.add", Outcome.DONE, "127.0.0.1")
    assert keys.audit(10, before=settled.number) == [added]


@pytest.mark.parametrize(
    "meddling",
    [
        "DELETE FROM api_audit",
        "TRUNCATE api_audit",
        "UPDATE api_audit SET who = 'somebody else'",
        "UPDATE api_audit SET detail = 'nothing happened'",
    ],
)
def test_what_is_written_down_stays(keys: AccessStore, url: str, meddling: str) -> None:
    keys.add_key("ops", Role.ADMIN, ANNA, DAWN)
    before = keys.audit(10)
    engine = open_engine(url, pooled=False)
    with pytest.raises(DatabaseError, match="neither changed nor deleted"), engine.begin() as connection:
        connection.execute(text(meddling))
    assert keys.audit(10) == before


def test_each_role_covers_those_below() -> None:
    assert [[have.covers(need) for need in Role] for have in Role] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]
