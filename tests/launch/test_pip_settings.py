"""A build is told what pip is told here, and given the packages that lie here."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.pip_settings import PipSettings, lend_wheels, pip_settings


def settings(tmp_path: Path, **env: str) -> PipSettings:
    return pip_settings({"HOME": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null", **env})


def conf(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_without_any_there_are_only_the_lent_packages(tmp_path: Path) -> None:
    found = settings(tmp_path)
    assert found.settings.get("index-url") is None
    assert found.settings["find-links"] == "/wheels"
    assert (found.folders, found.indexes, found.files) == ((), (), {})


def test_the_environment_goes_before_the_files_and_the_named_file_before_the_user_s(tmp_path: Path) -> None:
    conf(tmp_path / ".config/pip/pip.conf", "[global]\nindex-url = https://user/\nretries = 1\nproxy = http://p:1\n")
    own = conf(tmp_path / "own.conf", "[global]\nindex-url = https://own/\n[install]\nretries = 2\n")
    env = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(own), "PIP_INDEX_URL": "https://u:p@env/simple"}
    said = pip_settings(env).settings
    assert (said["index-url"], said["retries"], said["proxy"]) == ("https://u:p@env/simple", "2", "http://p:1")


def test_a_setting_may_be_spelt_with_underscores(tmp_path: Path) -> None:
    conf(tmp_path / ".config/pip/pip.conf", "[global]\nindex_url = https://one/\nTrusted_Host = one\n")
    own = conf(tmp_path / "own.conf", "[install]\nindex-url = https://two/\n")
    said = pip_settings({"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(own)}).settings
    assert (said["index-url"], said["trusted-host"]) == ("https://two/", "one")


def test_the_machine_s_own_file_and_the_virtual_environment_s_are_read(tmp_path: Path) -> None:
    conf(tmp_path / "xdg/pip/pip.conf", "[global]\nindex-url = https://machine/\nretries = 1\nproxy = http://p:1\n")
    conf(tmp_path / ".config/pip/pip.conf", "[global]\nindex-url = https://user/\nretries = 2\n")
    conf(tmp_path / "venv/pip.conf", "[global]\nindex-url = https://venv/\n")
    env = {"HOME": str(tmp_path), "XDG_CONFIG_DIRS": f"{tmp_path}/none:{tmp_path}/xdg"}
    said = pip_settings({**env, "VIRTUAL_ENV": str(tmp_path / "venv")}).settings
    assert (said["index-url"], said["retries"], said["proxy"]) == ("https://venv/", "2", "http://p:1")
    assert pip_settings(env).settings["index-url"] == "https://user/"


def test_a_percent_in_a_password_is_a_percent(tmp_path: Path) -> None:
    assert "https://u:a%40b@env/" in settings(tmp_path, PIP_INDEX_URL="https://u:a%40b@env/").text
    own = conf(tmp_path / "own.conf", "[global]\nindex-url = https://u:a%40b@own/\n")
    assert pip_settings({"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(own)}).settings["index-url"].count("%") == 1


def test_certificates_become_secrets_and_their_paths_those_of_secrets(tmp_path: Path) -> None:
    authorities = conf(tmp_path / "ca.crt", "CERTIFICATE")
    for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        found = settings(tmp_path, **{name: str(authorities)})
        assert found.files == {"ca.pem": authorities}
        assert "cert = /run/secrets/ca.pem\n" in found.text
        assert str(tmp_path) not in found.text


def test_what_says_where_to_install_is_the_image_s_own_matter(tmp_path: Path) -> None:
    text = settings(tmp_path, PIP_TARGET="/else", PIP_USER="1", PIP_REQUIRE_VIRTUALENV="1", PIP_TIMEOUT="9").text
    assert "timeout = 9" in text
    assert not [word for word in ("target", "user", "virtualenv") if word in text]


def test_folders_of_this_machine_are_lent_and_not_named(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        PIP_FIND_LINKS=f"{tmp_path}/flat https://far/links file://{tmp_path}/other",
        PIP_EXTRA_INDEX_URL=f"file://{tmp_path}/simple https://far/simple",
    )
    assert found.folders == (tmp_path / "flat", tmp_path / "other")
    assert found.indexes == (tmp_path / "simple",)
    assert found.settings["find-links"] == "https://far/links /wheels"
    assert found.settings["extra-index-url"] == "https://far/simple"
    assert str(tmp_path) not in found.text


def test_exactly_the_pinned_packages_are_lent(tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    for name in ("torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl", "torch-2.12.0-cp311-cp311-linux_x86_64.whl", "x.txt"):
        conf(flat / name, name)
    project = tmp_path / "simple" / "my-thing"
    conf(tmp_path / "files" / "my_thing-1.0-py3-none-any.whl", "thing")
    conf(tmp_path / "files" / "my_thing-2.0.tar.gz", "sdist")
    conf(
        project / "index.html",
        '<a href="../../files/my_thing-1.0-py3-none-any.whl#sha256=00">1</a><a href="../../files/my_thing-2.0.tar.gz">',
    )
    conf(tmp_path / "simple" / "bare" / "bare-3.0.tar.gz", "bare")
    found = settings(tmp_path, PIP_FIND_LINKS=str(flat), PIP_EXTRA_INDEX_URL=f"file://{tmp_path}/simple")
    wanted = "# a list\ntorch==2.13.0\nMy.Thing==1.0 ; python_version >= '3'\nbare==3.0  # why\nabsent==1.0\n-e .\n"
    lent = lend_wheels(found, wanted, tmp_path / "wheels")
    assert lent == [
        "bare-3.0.tar.gz",
        "my_thing-1.0-py3-none-any.whl",
        "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl",
    ]
    assert sorted(path.name for path in (tmp_path / "wheels").iterdir()) == lent
    assert (tmp_path / "wheels" / lent[1]).read_text() == "thing"


@given(st.text(max_size=200))
def test_no_requirement_list_upsets_it(text: str) -> None:
    assert lend_wheels(PipSettings({}, {}, (), ()), text, Path("/tmp")) == []  # noqa: S108


@pytest.mark.parametrize("text", ["[global", "no section\n", "[global]\nindex-url\n", "\x00"])
def test_a_file_that_pip_would_not_read_counts_as_none(tmp_path: Path, text: str) -> None:
    own = conf(tmp_path / "own.conf", text)
    assert "index-url" not in pip_settings({"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(own)}).settings
