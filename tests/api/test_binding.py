"""Nobody but this machine is answered in the clear."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from socket import socket
from threading import Thread

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from api.binding import check_binding, check_certificate
from api.serve import server
from nightbench.access import Role
from nightbench.errors import UsageError
from tests.api.conftest import Site

EVERYBODY = str(IPv4Address(0))


def _pem(key: ec.EllipticCurvePrivateKey, how: serialization.KeySerializationEncryption) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, and its key; ``locked.pem`` beside it is the key with a password."""
    folder = tmp_path_factory.mktemp("tls")
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    alternatives = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(alternatives, critical=False)
        .sign(private, hashes.SHA256())
    )
    certificate, key = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(_pem(private, serialization.NoEncryption()))
    key.chmod(0o600)
    locked = folder / "locked.pem"
    locked.write_bytes(_pem(private, serialization.BestAvailableEncryption(b"x")))
    locked.chmod(0o600)
    return certificate, key


@pytest.fixture
def free_port() -> int:
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(site: Site, port: int, *tls: Path) -> Iterator[None]:
    running = server(site.client.app, "127.0.0.1", port, *tls)
    thread = Thread(target=running.run)
    thread.start()
    try:
        while not running.started:
            assert thread.is_alive()
            thread.join(0.01)
        yield
    finally:
        running.should_exit = True
        thread.join(30)


def test_https_with_our_certificate_answers_and_http_there_does_not(
    site: Site, tls: tuple[Path, Path], free_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    check_certificate(*tls)
    headers = {"Authorization": f"Bearer {site.keys[Role.VIEWER]}"}
    with served(site, free_port, *tls):
        trusted = ssl.create_default_context(cafile=str(tls[0]))
        with caplog.at_level("INFO", "nightbench.api"), httpx.Client(verify=trusted, trust_env=False) as client:
            answer = client.get(f"https://127.0.0.1:{free_port}/api/v1/runs?suite=smoke", headers=headers)
        assert answer.status_code == 200
        assert "server" not in answer.headers
        with pytest.raises(httpx.HTTPError), httpx.Client(trust_env=False) as client:
            client.get(f"http://127.0.0.1:{free_port}/api/v1/runs", headers=headers)
    (line,) = (record.getMessage() for record in caplog.records if "/api/v1/runs" in record.getMessage())
    assert line.startswith("GET /api/v1/runs 200")
    key_id = site.keys[Role.VIEWER].split("_")[1]
    assert f"key={key_id} from 127.0.0.1" in line
    assert "suite=" not in line
    assert site.keys[Role.VIEWER] not in caplog.text


def test_plain_http_is_for_this_machine_alone(free_port: int) -> None:
    check_binding("127.0.0.1", free_port, tls=False)
    check_binding("localhost", free_port, tls=False)
    for host in (EVERYBODY, "::"):
        with pytest.raises(UsageError, match="would read keys off plain HTTP; set NIGHTBENCH_API_CERTIFICATE"):
            check_binding(host, free_port, tls=False)
    check_binding(EVERYBODY, free_port, tls=True)


def test_an_address_or_port_that_cannot_be_had_is_said_so(free_port: int) -> None:
    with socket() as taken:
        taken.bind(("127.0.0.1", free_port))
        taken.listen()
        with pytest.raises(UsageError, match=f"--port: 127.0.0.1:{free_port} cannot be had: Address already in use"):
            check_binding("127.0.0.1", free_port, tls=False)
    with pytest.raises(UsageError, match="--host: 'no such host' is no address"):
        check_binding("no such host", free_port, tls=False)


def test_files_that_are_no_certificate_and_its_key_are_said_so(tls: tuple[Path, Path], tmp_path: Path) -> None:
    certificate, key = tls
    with pytest.raises(UsageError, match="no certificate and its private key"):
        check_certificate(key, certificate)
    with pytest.raises(UsageError, match=r"absent\.pem cannot be read: No such file"):
        check_certificate(certificate, tmp_path / "absent.pem")
    shared = tmp_path / "shared.pem"
    shared.write_bytes(key.read_bytes())
    shared.chmod(0o640)
    with pytest.raises(UsageError, match="chmod 600 it"):
        check_certificate(certificate, shared)
    with pytest.raises(UsageError, match="has a password"):
        check_certificate(certificate, key.with_name("locked.pem"))
