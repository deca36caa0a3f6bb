"""A server keeps to its place: its own log, the loopback, its own files; and it goes when it is asked to."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from launch.process import alive
from loadgen.sources.counters import requests, served
from loadgen.sources.prometheus import scrape
from nightbench.errors import DeploymentError
from nightbench.server import ProbeStatus
from nightbench.stopping import Stopped
from tests.conformance.checks import check, of, processes
from tests.conformance.subject import POOL_COUNT, TIMEOUT_S, Subject, assert_all_right
from tests.conformance.traces import assert_free, nothing_left

PAGE_IS_CURRENT_S = 15.0
"""Some servers gather their figures now and then only."""
SAYS_WHY_S = 90.0
AFTER_THE_ROOT_S = 2.0
"""The rest of a tree may end a little later than its root."""
WORDS = ("error", "exception", "traceback", "fail", "invalid", "cannot", "unable")


@of(lambda spec: spec.metrics is not None)
@check("metrics")
def test_its_metrics_can_be_read_and_count_what_was_served(subject: Subject) -> None:
    deployment, model = subject.first.deployment, subject.model.name
    assert deployment.metrics_url is not None
    page = scrape(deployment.metrics_url)
    assert page, f"there is no metrics page at {deployment.metrics_url}"
    before = requests(page, model)
    endpoint = next(iter(deployment.endpoints.values()))
    assert_all_right(subject.loaded(endpoint), POOL_COUNT)
    deadline = time.monotonic() + PAGE_IS_CURRENT_S
    while (found := served(before, requests(scrape(deployment.metrics_url), model))) is not None:
        if found.requests >= POOL_COUNT:
            break
        assert time.monotonic() < deadline, f"it counts {found.requests} requests, not {POOL_COUNT}"
        time.sleep(0.2)


@processes
@check("loopback")
def test_it_listens_on_the_loopback_only(subject: Subject) -> None:
    elsewhere = {f"{ip}:{port}" for ip, port in subject.first.listening() if not _loopback(ip)}
    assert not elsewhere, f"it listens on {', '.join(sorted(elsewhere))}"


def _loopback(ip: str) -> bool:
    return ip.startswith("127.") or ip in {"::1", "::ffff:127.0.0.1"}


@processes
@check("log")
def test_it_writes_to_our_log_and_not_to_the_terminal(subject: Subject) -> None:
    root, log = subject.first.deployment.pid, subject.first.deployment.log_path
    assert {_target(root, number) for number in (1, 2)} == {str(log)}
    ours = {_target(os.getpid(), number) for number in (0, 1, 2)}
    for pid in subject.first.pids():
        for number in (0, 1, 2):
            target = _target(pid, number)
            assert target == "/dev/null" or target not in ours, f"process {pid} writes to {target}"
            assert not target.startswith(("/dev/tty", "/dev/pts/")), f"process {pid} writes to {target}"


def _target(pid: int | None, number: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/fd/{number}").readlink())
    except OSError:
        return ""


@processes
@check("log")
def test_what_goes_wrong_stands_in_our_log(subject: Subject) -> None:
    artifact = subject.prepared(subject.format).artifact
    broken = subject.folder / f"broken{artifact.path.suffix}"
    if artifact.path.is_dir():
        broken.mkdir()
    else:
        broken.write_bytes(b"not a model" * 10)
    log = subject.folder / f"server-{subject.starts + 1}.log"
    deadline = time.monotonic() + SAYS_WHY_S

    def said() -> bool:
        text = log.read_text(errors="replace").lower() if log.exists() else ""
        return any(word in text for word in WORDS) or time.monotonic() > deadline

    with (
        pytest.raises((DeploymentError, Stopped)),
        subject.launched(artifact=replace(artifact, path=broken), should_stop=said),
    ):
        raise AssertionError("it started with a file that is no model")
    text = log.read_text(errors="replace").lower()
    assert any(word in text for word in WORDS), f"the log does not say what went wrong: {text[-300:]!r}"


@check("second instance")
def test_a_second_one_runs_beside_it(subject: Subject) -> None:
    first = subject.first
    with nothing_left() as launched, subject.launched() as second:
        launched.append(second)
        for one in (second, first):
            for endpoint in one.deployment.endpoints.values():
                assert_all_right(subject.loaded(endpoint), POOL_COUNT)
    assert alive(first.deployment)
    endpoint = next(iter(first.deployment.endpoints.values()))
    assert subject.prober()(endpoint, TIMEOUT_S).status is ProbeStatus.READY, "the first one ended with the second"


@processes
@check("stops")
def test_it_stops_in_time_and_leaves_nothing(subject: Subject) -> None:
    stop = subject.spec.stop
    with nothing_left() as launched:
        with subject.launched() as one:
            launched.append(one)
            endpoint = next(iter(one.deployment.endpoints.values()))
            assert_all_right(subject.loaded(endpoint, 1, 4, 64), 64)
            listening, tree = one.listening(), one.tree
            tree.alive()  # seen before it ends, so that none of it can get away
            root = psutil.Process(one.deployment.pid)
            root.send_signal(signal.Signals[stop.signal])
            deadline = time.monotonic() + stop.grace_s
            while alive(one.deployment) and time.monotonic() < deadline:
                time.sleep(0.02)
            assert not alive(one.deployment), f"it still runs {stop.grace_s:g} s after {stop.signal}"
            left = [] if tree.wait(AFTER_THE_ROOT_S) else tree.alive()
            names = [" ".join(psutil.Process(seen.pid).cmdline())[:80] for seen in left if psutil.pid_exists(seen.pid)]
            assert not left, f"it left {len(left)} processes: {names}"
        assert_free(listening)
