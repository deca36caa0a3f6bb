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
    assert settings.environments == "pinned"


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
        }
    )
    assert (settings.home, settings.cache) == (Path("/a"), Path("/b"))
    assert settings.prefect_port == 4300
    assert settings.server_ports == (20000, 20099)
    assert settings.environments == "host"
    assert settings.servers_path == (Path("/x"), Path("/y"))
    assert settings.notify == ("slack-webhook/ops", "smtp-email/team")
    assert settings.grafana_url == "https://grafana.example/base"


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
        ("NIGHTBENCH_NOTIFY", "slack"),
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
