"""Where notifications arrive in tests: a web server and a mail server on loopback that behave as they are told."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from nightbench.judge.notice import Notice, NoticeState, retry_at


@dataclass
class WebReceiver:
    """Answers each request with the next of ``answers``, the last of them for good; 0 is to fall silent."""

    answers: list[int] = field(default_factory=lambda: [200])
    port: int = 0
    bodies: list[bytes] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}/hooks/s3cret-token"


@contextmanager
def web_receiver(*answers: int) -> Iterator[WebReceiver]:
    receiver = WebReceiver(list(answers) or [200])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            answer = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
            if answer == 0:
                receiver.gone.wait()
                return
            self.send_response(answer)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.gone.set()
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class MailReceiver:
    port: int = 0
    answer: str = "250 taken"
    """To a mail's content; empty to hang up without one."""
    refused: tuple[str, ...] = ()
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refused:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - likewise
        assert isinstance(envelope.content, bytes)
        parsed = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        self.mails.append(parsed)
        self.recipients.append(list(envelope.rcpt_tos))
        if not self.answer:
            assert server.transport is not None
            server.transport.abort()
        return self.answer or "250 nobody hears this"


@contextmanager
def mail_receiver(**options: Any) -> Iterator[MailReceiver]:
    receiver = MailReceiver()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        receiver.port = probe.getsockname()[1]
    controller = Controller(receiver, hostname="127.0.0.1", port=receiver.port, **options)
    controller.start()
    try:
        yield receiver
    finally:
        controller.stop()


def certificate_of(host: str, folder: Path) -> tuple[Path, Path]:
    """A certificate that nobody but its own file vouches for, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    return paths


def starttls(certificate: Path, key: Path) -> dict[str, Any]:
    """Options of a mail server that insists on encryption and a login."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return {"tls_context": context, "require_starttls": True, "auth_required": True}


def password_is(expected: bytes) -> Callable[..., AuthResult]:
    def check(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        return AuthResult(success=data.password == expected)

    return check


def nobody_listens() -> int:
    """A port that refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    assert isinstance(port, int)
    return port


@dataclass
class Box:
    """An outbox in memory that behaves as the database's does."""

    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put_notice(self, run_id: str, channel: str, subject: str, body: str) -> bool:
        with self.lock:
            if any((row["run_id"], row["channel"]) == (run_id, channel) for row in self.rows.values()):
                return False
            row = {"run_id": run_id, "channel": channel, "subject": subject, "body": body, "attempts": 0}
            self.rows[len(self.rows) + 1] = {**row, "state": NoticeState.WAITING, "due": None, "error": ""}
            return True

    def claim_notices(self, now: datetime, most: int | None = None) -> list[Notice]:
        claimed = []
        with self.lock:
            for number, row in self.rows.items():
                if len(claimed) == most:
                    break
                if row["state"] is NoticeState.WAITING and (row["due"] is None or row["due"] <= now):
                    row.update(state=NoticeState.SENDING, attempts=row["attempts"] + 1)
                    names = ("run_id", "channel", "subject", "body", "attempts")
                    claimed.append(Notice(number, *(row[name] for name in names)))
        return claimed

    def settle_notice(self, notice_id: int, state: NoticeState, error: str, now: datetime) -> None:
        with self.lock:
            row = self.rows[notice_id]
            row.update(state=state, error=error, due=retry_at(row["attempts"], now))

    def states(self) -> list[NoticeState]:
        return [row["state"] for row in self.rows.values()]
