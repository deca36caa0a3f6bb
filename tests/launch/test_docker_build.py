"""What went wrong in a build is one sentence; which docker can build is found out."""

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.docker_build import Build, build_failure, docker_build
from nightbench.errors import DeploymentError
from nightbench.stopping import never

PIP = """#8 12.3 Looking in indexes: https://robot:****@index/simple
#8 14.1 ERROR: Could not find a version that satisfies the requirement torch==9.9 (from versions: 2.0)
#8 14.2 ERROR: No matching distribution found for torch==9.9
#8 ERROR: executor failed running [/bin/sh -c pip install]: exit code: 1
------
executor failed running [/bin/sh -c pip install]: exit code: 1
"""
APT = "#6 0.512 E: Unable to locate package openjdk-99\n#6 ERROR: exit code: 100\nexit code: 100\n"
PULL = """#3 ERROR: failed to do request: Head "https://registry-1.docker.io/v2/library/python": dial tcp: no such host
failed to solve with frontend dockerfile.v0: failed to create LLB definition: no such host
"""


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (PIP, "Could not find a version that satisfies the requirement torch==9.9 (from versions: 2.0)"),
        (APT, "Unable to locate package openjdk-99"),
        (PULL, 'failed to do request: Head "https://registry-1.docker.io/v2/library/python": dial tcp: no such host'),
        ("#1 transferring\n\x1b[31mwrite /x: no space left on device\x1b[0m\n", "the disk of the engine is full"),
        ("Cannot connect to the Docker daemon\n", "Cannot connect to the Docker daemon"),
        ("", "it printed nothing"),
    ],
)
def test_the_cause_is_told_and_not_its_consequence(output: str, told: str) -> None:
    assert build_failure(output).startswith(told)


@given(st.text(max_size=300))
def test_any_output_has_a_sentence(output: str) -> None:
    assert 0 < len(build_failure(output)) <= 400


def client(path: Path, script: str) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    program = path / "docker"
    program.write_text(f"#!{sys.executable}\nimport sys, os\n{script}\n")
    program.chmod(0o755)
    return path


NO_PLUGIN = "print('Docker version 28.2.2'); sys.exit(sys.argv[1] == 'buildx')"
OLD = "print('Docker version 20.10.24+dfsg1', *sys.argv[1:], os.environ['DOCKER_BUILDKIT'] if 'build' in sys.argv else ''); sys.exit(sys.argv[1] == 'buildx')"  # noqa: E501


def make(tmp_path: Path) -> Path:
    log = tmp_path / "log"
    build = Build("toy", "nightbench/toy:1", tmp_path / "Dockerfile", tmp_path, {"BASE": "b"}, {"pip.conf": log}, {})
    docker_build(build, "unix:///nowhere", log, lambda _: None, never)
    return log


def test_a_client_that_cannot_build_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = client(tmp_path / "first", NO_PLUGIN), client(tmp_path / "second", OLD)
    monkeypatch.setenv("PATH", f"{first}:{second}")
    said = make(tmp_path).read_text()
    assert said.startswith("Docker version 20.10.24+dfsg1 build --progress plain --network host")
    assert f"--secret id=pip.conf,src={tmp_path}/log" in said
    assert said.endswith(f"{tmp_path} 1\n")


@pytest.mark.parametrize(("script", "told"), [(NO_PLUGIN, "plug-in is missing"), (None, "no docker client")])
def test_where_none_can_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, told: str
) -> None:
    monkeypatch.setenv("PATH", str(client(tmp_path / "only", script) if script else tmp_path / "empty"))
    with pytest.raises(DeploymentError, match=told) as caught:
        make(tmp_path)
    assert caught.value.kind == "no_image"
    assert "docker-buildx" in caught.value.detail
