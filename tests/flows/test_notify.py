"""Messages arrive once, or are tried again as long as they surely have not; and nothing of a channel is told."""

import json
import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.notifications import CustomWebhookNotificationBlock, SlackWebhook
from pydantic import SecretStr, ValidationError

from nightbench.judge.notice import ATTEMPTS, Notice, NoticeState
from tasks.notify import Delivered, deliver, send_due
from tasks.smtp_email import SmtpEmail
from tests.flows.receivers import (
    Box,
    certificate_of,
    mail_receiver,
    nobody_listens,
    password_is,
    starttls,
    web_receiver,
)

NOW = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
SECRET = "s3cret-token"  # noqa: S105 - what must not be seen
SUBJECT, BODY = "nightbench nightly: 1 confirmed regression", "p50 4.52 ms → 4.98 ms\n\n- <b>10.2 % slower</b>\n"


def box(*channels: str) -> Box:
    made = Box()
    for channel in channels or ("custom-webhook/pager",):
        assert made.put_notice("run", channel, SUBJECT, BODY)
    return made


def webhook(port: int) -> CustomWebhookNotificationBlock:
    return CustomWebhookNotificationBlock(
        name="pager",
        url=f"http://127.0.0.1:{port}/hooks/{{{{token}}}}",
        json_data={"title": "{{subject}}", "text": "{{body}}"},
        headers={"authorization": "Bearer {{token}}"},
        secrets={"token": SECRET},
        timeout=0.5,
    )


def slack(port: int) -> SlackWebhook:
    """Through Apprise, as all of Prefect's blocks but one; a short read timeout instead of its four seconds."""
    return SlackWebhook(url=SecretStr(f"json://127.0.0.1:{port}/hooks/s3cret-token?rto=0.5"))


def mail(port: int, **changes: Any) -> SmtpEmail:
    settings: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": port,
        "security": "none",
        "sender": "bench@example.org",
        "recipients": ["team@example.org", "lead@example.org"],
        "timeout_s": 5,
    }
    return SmtpEmail(**(settings | changes))


def sending(block: object) -> Callable[[Notice], Delivered]:
    return lambda notice: deliver(notice, lambda name: block)


def send(outbox: Box, block: object, now: datetime = NOW) -> list[NoticeState]:
    send_due(outbox, sending(block), lambda: now)
    return outbox.states()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate_of("localhost", tmp_path_factory.mktemp("tls"))


KINDS = pytest.mark.parametrize("block", [webhook, slack], ids=["httpx", "apprise"])


@KINDS
def test_a_message_arrives_once_as_it_was_written(block: Callable[[int], NotificationBlock]) -> None:
    outbox = box()
    with web_receiver() as receiver:
        for _ in range(3):
            assert send(outbox, block(receiver.port), NOW + timedelta(days=1)) == [NoticeState.SENT]
    (body,) = map(json.loads, receiver.bodies)
    assert body["title"] == SUBJECT
    assert (body.get("text") or body.get("message")).strip() == BODY.strip()


@KINDS
def test_a_receiver_that_refuses_is_tried_again_later_and_served_once(
    block: Callable[[int], NotificationBlock],
) -> None:
    outbox = box()
    with web_receiver(500, 200) as receiver:
        assert send(outbox, block(receiver.port)) == [NoticeState.WAITING]
        assert "status 500" in outbox.rows[1]["error"]
        assert send(outbox, block(receiver.port), NOW + timedelta(seconds=1)) == [NoticeState.WAITING]
        assert len(receiver.bodies) == 1
        for days in (1, 2, 3):
            assert send(outbox, block(receiver.port), NOW + timedelta(days=days)) == [NoticeState.SENT]
    assert len(receiver.bodies) == 2


@KINDS
@pytest.mark.parametrize("answer", [0, 502, 504])
def test_a_message_that_may_have_arrived_is_not_sent_again(
    block: Callable[[int], NotificationBlock], answer: int
) -> None:
    outbox = box()
    with web_receiver(answer) as receiver:
        for days in range(3):
            assert send(outbox, block(receiver.port), NOW + timedelta(days=days)) == [NoticeState.UNKNOWN]
    assert len(receiver.bodies) == 1


@KINDS
def test_a_receiver_that_is_down_is_waited_for_and_given_up_in_the_end(
    block: Callable[[int], NotificationBlock],
) -> None:
    outbox, port = box(), nobody_listens()
    for days in range(ATTEMPTS - 1):
        assert send(outbox, block(port), NOW + timedelta(days=2 * days)) == [NoticeState.WAITING]
    for days in range(2):
        assert send(outbox, block(port), NOW + timedelta(days=100 + days)) == [NoticeState.FAILED]
    assert outbox.rows[1]["attempts"] == ATTEMPTS


def test_two_senders_at_once_send_one_message() -> None:
    outbox, begin = box("a/b", "c/d"), threading.Barrier(4)
    with web_receiver() as receiver:

        def work() -> None:
            begin.wait()
            send(outbox, webhook(receiver.port))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert outbox.states() == [NoticeState.SENT] * 2
    assert len(receiver.bodies) == 2


def test_a_sender_killed_in_the_middle_leaves_nothing_to_be_sent_twice() -> None:
    outbox = box()

    def killed(notice: Notice) -> Delivered:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        send_due(outbox, killed, lambda: NOW)
    assert outbox.claim_notices(NOW + timedelta(days=1)) == []


def test_a_sender_killed_in_the_middle_costs_only_the_message_it_was_at() -> None:
    outbox = box("a/b", "c/d", "e/f")

    def killed(notice: Notice) -> Delivered:
        if notice.channel == "c/d":
            raise KeyboardInterrupt
        return Delivered(notice, NoticeState.SENT)

    with pytest.raises(KeyboardInterrupt):
        send_due(outbox, killed, lambda: NOW)
    assert [notice.channel for notice in outbox.claim_notices(NOW + timedelta(days=1))] == ["e/f"]


def test_one_channel_that_fails_costs_no_other() -> None:
    outbox = box("slack-webhook/broken", "custom-webhook/pager")
    with web_receiver() as receiver:
        blocks: dict[str, Any] = {"custom-webhook/pager": webhook(receiver.port)}
        done = send_due(outbox, lambda notice: deliver(notice, blocks.__getitem__), lambda: NOW)
    assert outbox.states() == [NoticeState.WAITING, NoticeState.SENT]
    assert done.lines() == [
        "slack-webhook/broken: not delivered, and tried again later: "
        "the block slack-webhook/broken cannot be loaded (KeyError)",
        "custom-webhook/pager: sent",
    ]


def test_a_database_that_is_lost_while_sending_keeps_no_other_message_back() -> None:
    outbox = box("a/b", "c/d")

    def lose(*_: object) -> None:
        raise ConnectionError("the database is gone")

    outbox.settle_notice = lose  # type: ignore[method-assign]
    with web_receiver() as receiver, pytest.raises(ConnectionError):
        send_due(outbox, sending(webhook(receiver.port)), lambda: NOW)
    assert len(receiver.bodies) == 2


def test_a_block_that_sends_nothing_is_named() -> None:
    outbox = box("secret/token")
    assert send(outbox, SecretStr(SECRET)) == [NoticeState.WAITING]
    assert outbox.rows[1]["error"] == "the block secret/token is none that sends notifications"


@KINDS
@pytest.mark.parametrize("answers", [(200,), (403,), (0,), None])
def test_tokens_of_a_channel_are_neither_logged_nor_kept(
    block: Callable[[int], NotificationBlock], answers: tuple[int, ...] | None, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = box()
    with caplog.at_level(logging.DEBUG), web_receiver(*(answers or ())) as receiver:
        port = receiver.port if answers else nobody_listens()
        send_due(outbox, lambda notice: deliver(notice, lambda name: block(port)), lambda: NOW)
    assert "s3cret" not in caplog.text + outbox.rows[1]["error"]


def test_logs_are_as_before_once_a_message_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    apprise = logging.getLogger("apprise")
    before = list(apprise.handlers), apprise.level
    with web_receiver() as receiver:
        send(box(), slack(receiver.port))
    apprise.warning("heard")
    assert "heard" in caplog.text
    assert (apprise.handlers, apprise.level) == before


# E-mail: a block of ours.


def test_an_email_arrives_once_as_it_was_written() -> None:
    outbox = box()
    with mail_receiver() as receiver:
        for _ in range(2):
            assert send(outbox, mail(receiver.port)) == [NoticeState.SENT]
    (got,) = receiver.mails
    assert got["subject"] == SUBJECT
    assert got["to"] == "team@example.org, lead@example.org"
    assert got.get_content().replace("\r\n", "\n") == BODY
    assert got["message-id"].endswith("@example.org>")
    assert receiver.recipients == [["team@example.org", "lead@example.org"]]


def test_a_subject_cannot_add_headers() -> None:
    with mail_receiver() as receiver:
        notice = Notice(1, "run", "smtp-email/team", "all fine\r\nBcc: thief@example.org", BODY, 1)
        assert sending(mail(receiver.port))(notice).state is NoticeState.SENT
    assert receiver.mails[0]["bcc"] is None
    assert receiver.recipients == [["team@example.org", "lead@example.org"]]


@pytest.mark.parametrize(
    ("answer", "refused", "state", "error"),
    [
        ("451 later", (), NoticeState.WAITING, "the content was refused with 451"),
        ("", (), NoticeState.UNKNOWN, "took the content and did not answer"),
        ("250 OK", ("team@example.org", "lead@example.org"), NoticeState.WAITING, "all recipients were refused"),
        ("250 OK", ("team@example.org",), NoticeState.SENT, ""),
    ],
)
def test_what_a_mail_server_answers_decides(
    answer: str, refused: tuple[str, ...], state: NoticeState, error: str
) -> None:
    outbox = box()
    with mail_receiver() as receiver:
        receiver.answer, receiver.refused = answer, refused
        assert send(outbox, mail(receiver.port)) == [state]
        assert error in outbox.rows[1]["error"]
        retried = send(outbox, mail(receiver.port), NOW + timedelta(days=1))
    assert (retried == [state]) or state is NoticeState.WAITING
    assert len(receiver.mails) == (0 if len(refused) == 2 else 2 if answer.startswith("451") else 1)


def test_a_mail_server_that_is_down_is_waited_for() -> None:
    outbox = box()
    assert send(outbox, mail(nobody_listens())) == [NoticeState.WAITING]
    assert "ConnectionRefusedError" in outbox.rows[1]["error"]


def test_a_host_that_cannot_be_one_has_surely_got_nothing() -> None:
    outbox = box()
    assert send(outbox, mail(25, host=f"{'a' * 70}.example.org")) == [NoticeState.WAITING]


def test_a_server_without_encryption_is_not_talked_to_where_it_is_asked_for() -> None:
    outbox = box()
    with mail_receiver() as receiver:
        assert send(outbox, mail(receiver.port, security="starttls")) == [NoticeState.WAITING]
    assert receiver.mails == []


def test_a_password_is_neither_sent_unencrypted_nor_shown(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="not sent unencrypted"):
        mail(25, username="bench", password=SECRET)
    made = mail(nobody_listens(), security="tls", username="bench", password=SECRET)
    outbox = box()
    with caplog.at_level(logging.DEBUG):
        send(outbox, made)
    assert "s3cret" not in repr(made) + str(made) + caplog.text + outbox.rows[1]["error"]


@pytest.mark.parametrize(("password", "state"), [(SECRET, NoticeState.SENT), ("wrong", NoticeState.WAITING)])
def test_a_server_that_wants_a_password_gets_it_encrypted(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, password: str, state: NoticeState
) -> None:
    outbox = box()
    with mail_receiver(**starttls(*certificate), authenticator=password_is(SECRET.encode())) as receiver:
        block = mail(receiver.port, host="localhost", security="starttls", username="bench", password=password)
        assert send(outbox, block) == [NoticeState.WAITING], "a certificate of nobody's was trusted"
        assert "SSLCertVerificationError" in outbox.rows[1]["error"]
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        assert send(outbox, block, NOW + timedelta(days=1)) == [state]
    assert len(receiver.mails) == (state is NoticeState.SENT)
    assert SECRET not in outbox.rows[1]["error"]


@pytest.mark.parametrize("address", ["team", "a b@example.org", "a@b\nBcc: c@d", "Team <team@example.org>"])
def test_a_bad_address_is_refused(address: str) -> None:
    with pytest.raises(ValidationError):
        mail(25, recipients=[address])
