"""Settings come from the environment, and a bad one is a sentence."""

from pathlib import Path

import pytest

from nightbench.errors import UsageError
from nightbench.settings import Settings


def test_an_empty_environment_gives_a_working_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = Settings.from_environment({})
    assert settings.home == tmp_path / ".local/share/nightbench"
    assert settings.spool.parent == settings.runs.parent == settings.home
    assert settings.database_url is None
    assert settings.shared_memory is True
    assert settings.environments == "pinned"
    assert settings.image_base == "python:3.11-slim"
    assert (settings.keep_telemetry_days, settings.keep_measurements_days) == (180, 1830)


def test_every_variable_is_read() -> None:
    settings = Settings.from_environment(
        {
            "NIGHTBENCH_HOME": "/a",
            "NIGHTBENCH_CACHE": "/b",
            "NIGHTBENCH_DATABASE_URL": "postgresql://u@h/d",
            "NIGHTBENCH_PREFECT_PORT": "4300",
            "NIGHTBENCH_SERVER_PORTS": "20000-20099",
            "NIGHTBENCH_ENVIRONMENTS": "host",
            "NIGHTBENCH_SERVERS_PATH": "/x:/y",
            "NIGHTBENCH_NOTIFY": "slack-webhook/ops, smtp-email/team,slack-webhook/ops",
            "NIGHTBENCH_GRAFANA_URL": "https://grafana.example/base/",
            "NIGHTBENCH_SHARED_MEMORY": "no",
            "NIGHTBENCH_KEEP_TELEMETRY_DAYS": "90",
            "NIGHTBENCH_KEEP_MEASUREMENTS_DAYS": "forever",
            "NIGHTBENCH_IMAGE_BASE": "registry.example:5000/python@sha256:" + "1a" * 32,
        }
    )
    assert (settings.home, settings.cache) == (Path("/a"), Path("/b"))
    assert settings.shared_memory is False
    assert settings.prefect_port == 4300
    assert settings.server_ports == (20000, 20099)
    assert settings.environments == "host"
    assert settings.servers_path == (Path("/x"), Path("/y"))
    assert settings.notify == ("slack-webhook/ops", "smtp-email/team")
    assert settings.grafana_url == "https://grafana.example/base"
    assert (settings.keep_telemetry_days, settings.keep_measurements_days) == (90, None)
    assert settings.image_base.startswith("registry.example:5000/python@sha256:1a")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NIGHTBENCH_PREFECT_PORT", "many"),
        ("NIGHTBENCH_PREFECT_PORT", "0"),
        ("NIGHTBENCH_PREFECT_PORT", "70000"),
        ("NIGHTBENCH_SERVER_PORTS", "20000"),
        ("NIGHTBENCH_SERVER_PORTS", "20099-20000"),
        ("NIGHTBENCH_SERVER_PORTS", "80-90"),
        ("NIGHTBENCH_ENVIRONMENTS", "conda"),
        ("NIGHTBENCH_KEEP_TELEMETRY_DAYS", "half a year"),
        ("NIGHTBENCH_KEEP_TELEMETRY_DAYS", "7"),
        ("NIGHTBENCH_KEEP_MEASUREMENTS_DAYS", "-400"),
        ("NIGHTBENCH_NOTIFY", "slack"),
        ("NIGHTBENCH_IMAGE_BASE", "--privileged"),
    ],
)
def test_a_bad_value_is_named_with_its_variable(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=name) as caught:
        Settings.from_environment({name: value})
    assert repr(value) in str(caught.value)


def test_an_address_in_place_of_a_block_is_not_repeated() -> None:
    with pytest.raises(UsageError, match="NIGHTBENCH_NOTIFY") as caught:
        Settings.from_environment({"NIGHTBENCH_NOTIFY": "https://hooks.example/T0/s3cret"})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("value", ["grafana:3000", "http://", "http://me:s3cret@g", "http://g/?orgId=1", "http://[g"])
def test_an_address_that_cannot_be_linked_to_is_refused_and_not_repeated(value: str) -> None:
    with pytest.raises(UsageError, match="NIGHTBENCH_GRAFANA_URL") as caught:
        Settings.from_environment({"NIGHTBENCH_GRAFANA_URL": value})
    assert "s3cret" not in str(caught.value)


def test_a_database_password_is_not_in_a_traceback_of_the_settings() -> None:
    settings = Settings.from_environment({"NIGHTBENCH_DATABASE_URL": "postgresql://u:s3cret@h/d"})
    assert "s3cret" not in repr(settings)


def test_the_apis_settings_are_read() -> None:
    settings = Settings.from_environment(
        {
            "NIGHTBENCH_API_CERTIFICATE": "/tls/cert.pem",
            "NIGHTBENCH_API_PRIVATE_KEY": "/tls/key.pem",
            "NIGHTBENCH_API_KEY_LIMIT": "5/second",
            "NIGHTBENCH_API_ADDRESS_LIMIT": "1000/hour",
            "NIGHTBENCH_API_INFERENCE_PORTS": "9000-9010",
        }
    )
    assert settings.api_inference_ports == (9000, 9010)
    assert (settings.api_certificate, settings.api_private_key) == (Path("/tls/cert.pem"), Path("/tls/key.pem"))
    assert (settings.api_key_limit, settings.api_address_limit) == ("5/second", "1000/hour")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("NIGHTBENCH_API_CERTIFICATE", "/tls/cert.pem", "NIGHTBENCH_API_PRIVATE_KEY: is missing"),
        ("NIGHTBENCH_API_PRIVATE_KEY", "/tls/key.pem", "NIGHTBENCH_API_CERTIFICATE: is missing"),
        ("NIGHTBENCH_API_KEY_LIMIT", "many", "'many' is no limit; write it as 120/minute"),
        ("NIGHTBENCH_API_ADDRESS_LIMIT", "0/minute", "'0/minute' is no limit"),
        ("NIGHTBENCH_API_INFERENCE_PORTS", "9000", "'9000' is not a port range; write it as 20000-20099"),
    ],
)
def test_the_apis_settings_are_checked(name: str, value: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Settings.from_environment({name: value})


def test_a_machine_has_a_name_a_pool_and_a_time() -> None:
    settings = Settings.from_environment({"HOME": "/nowhere"})
    assert settings.machine
    assert (settings.pool, settings.cron, settings.time_zone) == (None, "30 3 * * *", "UTC")
    given = {"MACHINE": "gpu-7.lab", "POOL": "gpu-h200", "CRON": "0 1 * * 1-5", "TIME_ZONE": "Europe/Berlin"}
    settings = Settings.from_environment({f"NIGHTBENCH_{name}": value for name, value in given.items()})
    assert (settings.machine, settings.pool) == ("gpu-7.lab", "gpu-h200")
    assert (settings.cron, settings.time_zone) == ("0 1 * * 1-5", "Europe/Berlin")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("MACHINE", "my machine", "'my machine' is no name; give small letters, digits, dots and dashes"),
        ("POOL", "GPU/1", "'GPU/1' is no name"),
        ("TIME_ZONE", "Europe/Berlinn", r"is no time zone; did you mean 'Europe/Berlin'\?"),
        ("TIME_ZONE", "../../etc/passwd", "is no time zone; give one such as Europe/Berlin"),
    ],
)
def test_a_wrong_name_or_zone_is_a_sentence(name: str, value: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=f"environment: NIGHTBENCH_{name}: .*{sentence}"):
        Settings.from_environment({f"NIGHTBENCH_{name}": value})


def test_passwords_are_not_shown() -> None:
    environment = {"NIGHTBENCH_DATABASE_URL": "postgresql://u:hush@h/d", "NIGHTBENCH_READER_PASSWORD": "hush"}
    settings = Settings.from_environment(environment)
    assert settings.reader_password == "hush"  # noqa: S105
    assert "hush" not in repr(settings)
    assert Settings.from_environment({"NIGHTBENCH_READER_PASSWORD": ""}).reader_password is None
