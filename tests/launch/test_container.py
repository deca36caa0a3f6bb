"""What a container is made of, and which GPUs it is given."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.container import creation, device_requests, hand_over, spoken, user_of
from launch.limits import gpus_for
from nightbench.server import Command, Limits, Option, Protocol
from tests.launch.toys import make_request, make_spec


def made(root: Path, **changes: object) -> dict[str, Any]:
    folder = root / "workdirs" / "w1"
    request = make_request(root, **changes)  # type: ignore[arg-type]  # fields by name
    (folder / "models").mkdir(parents=True)
    return creation(request, Command(("serve",)), folder, (9000,), "w1")


def test_it_is_shut_off_from_all_it_does_not_need(root: Path) -> None:
    asked = made(root)
    assert asked["cap_drop"] == ["ALL"]
    assert asked["security_opt"] == ["no-new-privileges:true"]
    assert asked["read_only"] is True
    assert not asked["user"].startswith("0:")
    assert asked["ports"] == {"9000/tcp": ("127.0.0.1", 9000)}
    assert asked["sysctls"] == {"net.ipv4.ip_default_ttl": "1"}
    assert asked["ipc_mode"] == "private"
    assert asked["pids_limit"] > 0
    assert asked["init"] is True
    assert asked["healthcheck"] == {"test": ["NONE"]}
    assert not asked.keys() & {"privileged", "devices", "cap_add", "pid_mode", "network_mode"}
    (root / "workdirs" / "w1" / "models").rmdir()
    (root / "workdirs" / "w1").rmdir()


@pytest.mark.parametrize(
    ("uid", "shared_memory", "mode"), [(0, True, "private"), (1000, True, "host"), (1000, False, "private")]
)
def test_shared_memory_is_open_to_its_owner_alone(
    root: Path, monkeypatch: pytest.MonkeyPatch, uid: int, shared_memory: bool, mode: str
) -> None:
    """Root's is closed to the user that a container has then, so the protocol is none of the container's; nor is it
    where the settings shut it off, as in the compose stack, whose socket proxy gives no container the machine's IPC."""
    monkeypatch.setattr("os.getuid", lambda: uid)
    monkeypatch.setattr("os.chown", lambda *_, **__: None)
    protocols = {Protocol.KSERVE_HTTP_SHM: "http", Protocol.KSERVE_HTTP: "http"}
    assert made(root, shared_memory=shared_memory, protocols=protocols)["ipc_mode"] == mode
    (root / "workdirs" / "w1" / "models").rmdir()
    for left in (root / "workdirs" / "w1").iterdir():
        left.unlink()
    (root / "workdirs" / "w1").rmdir()
    both = {Protocol.KSERVE_HTTP, Protocol.KSERVE_HTTP_SHM}
    assert set(spoken(protocols, uid, shared_memory)) == (both if mode == "host" else {Protocol.KSERVE_HTTP})


@pytest.mark.parametrize(
    ("changes", "key", "value"),
    [
        ({"writable_root": True}, "read_only", False),
        ({"limits": Limits(None, 5 << 20)}, "shm_size", 5 << 20),
        ({"limits": Limits(None, 5 << 20)}, "mem_limit", 5 << 20),
        ({"limits": Limits((3, 5))}, "cpuset_cpus", "3,5"),
    ],
)
def test_what_a_server_says_of_itself(tmp_path: Path, changes: dict[str, object], key: str, value: object) -> None:
    assert made(tmp_path, **changes)[key] == value


def test_only_the_working_directory_can_be_written(tmp_path: Path) -> None:
    asked = made(tmp_path, read_only=("models", "absent"))
    mounted = {each["Target"]: each["ReadOnly"] for each in asked["mounts"]}
    folder = str(tmp_path / "workdirs" / "w1")
    assert mounted == {
        folder: False,
        f"{folder}/models": True,
        str(tmp_path / "d1"): True,
        "/etc/resolv.conf": True,
    }
    assert all(each["Source"] == each["Target"] for each in asked["mounts"] if each["Target"] != "/etc/resolv.conf")
    assert asked["environment"]["HOME"] == asked["environment"]["TMPDIR"] == folder


def test_nothing_of_our_environment_reaches_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "hunter2")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/ours")
    told = made(tmp_path)["environment"]
    assert not {"DATABASE_PASSWORD", "LD_LIBRARY_PATH", "PATH"} & told.keys()


def test_root_becomes_nobody_and_others_stay_themselves() -> None:
    assert user_of(0, 0) == "10001:10001"
    assert user_of(1000, 100) == "1000:100"


def test_lookups_fail_at_once_and_files_are_handed_over(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "link").symlink_to("/etc/passwd")
    before = Path("/etc/passwd").stat().st_uid
    hand_over(tmp_path)
    assert "nameserver 127.0.0.1" in (tmp_path / "resolv.conf").read_text()
    assert Path("/etc/passwd").stat().st_uid == before
    expected = 10001 if os.getuid() == 0 else os.getuid()
    assert (tmp_path / "models").stat().st_uid == expected


def test_gpus_are_all_or_listed() -> None:
    assert device_requests(()) == []
    (every,) = device_requests(("all",))
    assert (every["Count"], every["DeviceIDs"], every["Capabilities"]) == (-1, [], [["gpu"]])
    (some,) = device_requests(("0", "GPU-8f1"))
    assert (some["Count"], some["DeviceIDs"]) == (0, ["0", "GPU-8f1"])


@pytest.mark.parametrize(
    ("visible", "gpus"),
    [(None, ("all",)), ("", ()), ("-1", ()), ("1", ("1",)), ("0, GPU-8f1", ("0", "GPU-8f1")), ("2,-1,3", ("2",))],
)
def test_a_server_gets_the_gpus_that_a_process_would_see(
    tmp_path: Path, visible: str | None, gpus: tuple[str, ...]
) -> None:
    env = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    device = Option("device", default="cpu", help="", choices=("cpu", "cuda"))
    spec = make_spec(tmp_path, "", options=(device,))
    assert gpus_for(spec, {}, env) == ()
    assert gpus_for(spec, {"device": "cuda"}, env) == gpus
    assert gpus_for(make_spec(tmp_path, "", needs=("gpu",)), {}, env) == gpus


@given(st.lists(st.integers(0, 511), min_size=1, unique=True))
def test_processors_are_a_list_the_kernel_reads(cpus: list[int]) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        told = made(Path(folder), limits=Limits(tuple(cpus)))["cpuset_cpus"]
    assert re.fullmatch(r"\d+(,\d+)*", told)
    assert [int(part) for part in told.split(",")] == cpus
