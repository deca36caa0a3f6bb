"""`nightbench sweep` as it is typed: figures and exit 0, a dead server and exit 1, nonsense and exit 2."""

import json
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from flows.cli import app
from flows.sweep_options import Asked, Ending, Sending, Spacing
from loadgen.dialects import DIALECTS
from nightbench.errors import UsageError
from tests.flows.conftest import Bench, bench_at
from tests.loadgen.conftest import FakeServer

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def command(tmp_path: Path) -> Bench:
    """The command alone: a sweep starts nothing that would have to be taken down."""
    return bench_at(tmp_path, tmp_path / "cache")


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(lambda _number, _body: OK) as running:
        yield running


def test_a_sweep_prints_and_saves_its_figures(command: Bench, server: FakeServer) -> None:
    code, output = command.run(
        *("sweep", f"http://127.0.0.1:{server.port}/x", "--body-bytes", "100", "--json", "out.json"),
        *("--open", "300", "--arrival", "constant", "--duration", "1", "--warmup", "0"),
    )
    assert code == 0, output
    report = json.loads((command.home / "out.json").read_text())
    assert {
        "throughput_rps",
        "offered_rps",
        "ok",
        "failed",
        "outcomes",
        "latency_ms",
        "service_ms",
        "send_lag_us",
        "client_cpu_us_per_request",
        "intervals",
        "doubts",
    } <= report.keys()
    assert (report["requests"], report["failed"]) == (300, 0)
    for words in ("throughput", "offered", "send lag", "client CPU", "p99.9", "constant 300 rps", "out.json"):
        assert words in output
    page = (Path(__file__).parents[2] / "docs" / "loadgen.md").read_text()
    assert not [key for key in report if f"`{key}`" not in page]
    # A sweep leaves nothing but what it was asked for.
    assert [path.name for path in command.home.iterdir()] == ["out.json"]


def test_a_server_that_fails_every_request_is_exit_1_with_its_reason(command: Bench) -> None:
    with FakeServer(lambda *_: b"HTTP/1.1 500 Broken\r\nContent-Length: 4\r\n\r\noops") as broken:
        code, output = command.run(
            *("sweep", f"127.0.0.1:{broken.port}", "--body-bytes", "1", "--closed", "1", "--requests", "5")
        )
    assert code == 1
    assert "http_5xx" in output
    assert "oops" in output
    assert "Traceback" not in output


BODY = ("--body-bytes", "10")
CLOSED = ("--closed", "1")
END = ("--requests", "5")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((*BODY, *END), "the load is missing; add --closed CONCURRENCY, --open RPS or --search GOAL"),
        ((*BODY, *CLOSED, "--open", "5", *END), "--closed, --open and --search ask different questions"),
        ((*BODY, *CLOSED), "add --duration SECONDS or --requests N"),
        ((*BODY, "--closed", "0", *END), "--closed: 0 is wrong; it should be greater than 0"),
        ((*BODY, "--open", "-3", *END), "--open: -3 is wrong"),
        ((*BODY, "--open", "nan", *END), "--open: nan is wrong"),
        ((*BODY, *CLOSED, "--duration", "inf"), "--duration: inf is wrong"),
        ((*BODY, *CLOSED, "--requests", "-1"), "--requests: -1 is wrong"),
        ((*BODY, *CLOSED, *END, "--timeout", "0"), "--timeout: 0 is wrong"),
        ((*BODY, *CLOSED, *END, "--warmup", "-1"), "--warmup: -1 is wrong"),
        ((*BODY, *CLOSED, *END, "--arrival", "poisson"), "--arrival: a closed loop has no arrivals"),
        ((*BODY, *CLOSED, *END, "--pacing", "spin"), "--pacing: a closed loop waits for nothing but answers"),
        ((*BODY, "--distinct", "0", *CLOSED, *END), "--distinct: 0 is wrong"),
        (("--input", "x", "--distinct", "1", *CLOSED, *END), "--distinct: a file is sent as it is"),
        ((*BODY, "--closed", "100000000", *END), "connections this shell may open"),
        (("--body-bytes", "0", *CLOSED, *END), "--body-bytes: 0 is wrong"),
        ((*CLOSED, *END), "give one of --body-bytes N"),
        ((*BODY, "--input", "x", *CLOSED, *END), "give one of --body-bytes N"),
        (("--input", "absent.json", *CLOSED, *END), "absent.json cannot be read: No such file"),
        (("--input", ".", *CLOSED, *END), "is no file"),
        (("--input", "absent.npz", *CLOSED, *END), "absent.npz cannot be read: No such file"),
        ((*BODY, "--batch", "2", *CLOSED, *END), "--batch: only an .npz"),
        ((*BODY, "--protocol", "kserve-grpc", *CLOSED, *END), "--body-bytes: kserve-grpc does not carry bare bytes"),
        ((*BODY, *CLOSED, *END, "--json", "no/such/folder.json"), "--json: no/such/folder.json cannot be written"),
        ((*BODY, *CLOSED, *END, "--path", "x"), "--path: 'x' is wrong"),
        ((*BODY, *CLOSED, "--search", "peak", *END), "--closed, --open and --search ask different questions"),
        ((*BODY, "--search", "slo"), "--p99-ms: the bound that p99 of the latency shall keep is missing"),
        ((*BODY, "--search", "peak", "--p99-ms", "5"), "--p99-ms: only a search for the rate that keeps it"),
        ((*BODY, "--search", "knee", "--arrival", "poisson"), "--arrival: a search for the knee has no arrivals"),
        ((*BODY, "--open", "5", "--arrival", "gamma", *END), "--burstiness: it is the shape of gamma arrivals"),
        ((*BODY, "--open", "5", "--burstiness", "2", *END), "--burstiness: it is the shape of gamma arrivals"),
        ((*BODY, "--trace", "absent.txt", *END), "trace absent.txt: cannot be read"),
        ((*BODY, "--trace", "x", "--arrival", "poisson", *END), "--trace: it says itself how requests are spaced"),
        ((*BODY, *CLOSED, *END, "--workers", "2"), "--workers: 2 cannot share 1 requests in flight"),
        ((*BODY, *CLOSED, *END, "--workers", "0"), "--workers: 0 is wrong"),
        ((*BODY, *CLOSED, *END, "--precision", "2"), "--precision: '2' is wrong; write the half-widths"),
        ((*BODY, *CLOSED, *END, "--precision", "0,10"), "--precision: '0,10' is wrong"),
        ((*BODY, *CLOSED, *END, "--ttft-ms", "5"), "--ttft-ms: only streamed answers"),
        ((*BODY, *CLOSED, *END, "--output-tokens", "5"), "--output-tokens: a file says itself how much it asks for"),
        (("--prompt-tokens", "5", *CLOSED, *END), "--prompt-tokens: raw-http carries no prompts"),
        (("--protocol", "openai", "--prompt-tokens", "5", *CLOSED, *END), "--model: a prompt is addressed to a model"),
        (("--body-bytes", "1", "--cache-audit", *CLOSED, *END), "--cache-audit: there are too few distinct bodies"),
        (("--input", __file__, "--cache-audit", *CLOSED, *END), "--cache-audit: a file holds too few inputs"),
        (
            ("--protocol", "kserve-http", "--input-spec", "x:FP32:1x2", *CLOSED, *END),
            "--model: kserve-http needs the model's name",
        ),
    ],
)
def test_nonsense_is_one_sentence(
    tmp_path: Path, arguments: tuple[str, ...], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as raised:
        app(["sweep", "http://127.0.0.1:1", *arguments], exit_on_error=False)
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_search_tells_its_steps(command: Bench, server: FakeServer) -> None:
    code, output = command.run(
        *("sweep", f"http://127.0.0.1:{server.port}/x", "--body-bytes", "100", "--json", "out.json"),
        *("--search", "knee", "--duration", "0.2", "--no-calibrate"),
    )
    assert code == 0, output
    report = json.loads((command.home / "out.json").read_text())
    steps = report["search"]["steps"]
    assert [step["load"] for step in steps[:2]] == ["closed c1", "closed c2"]
    assert steps[report["search"]["chosen"]]["load"] == report["load"]
    assert all(f"{step['load']}: " in output for step in steps)


def test_a_search_with_workers_begins_with_one(command: Bench, server: FakeServer) -> None:
    code, output = command.run(
        *("sweep", f"http://127.0.0.1:{server.port}/x", "--body-bytes", "100", "--workers", "2"),
        *("--search", "knee", "--duration", "0.2", "--no-calibrate"),
    )
    assert code == 0, output
    assert "closed c1: " in output


def test_a_cache_that_answers_is_found_out(command: Bench) -> None:
    seen: set[bytes] = set()

    def caching(_number: int, body: bytes) -> bytes:
        if body not in seen:
            seen.add(body)
            time.sleep(0.002)
        return OK

    with FakeServer(caching) as cached:
        code, output = command.run(
            *("sweep", f"http://127.0.0.1:{cached.port}", "--body-bytes", "100", "--closed", "1", "--requests", "50"),
            *("--no-calibrate", "--cache-audit"),
        )
    assert code == 0, output
    assert "cache audit: cache answers" in output


def test_everything_that_can_be_asked_and_answered_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "loadgen.md").read_text()
    groups = (Sending, Spacing, Ending, Asked)
    options = [f"--{field.name.replace('_', '-')}" for group in groups for field in fields(group)]
    # It is on by default, and documented as what switches it off.
    options[options.index("--calibrate")] = "--no-calibrate"
    missing = [name for name in (*options, *(f"`{name}`" for name in DIALECTS)) if name not in page]
    assert not missing


def test_hosts_that_cannot_be_loaded(command: Bench) -> None:
    for url, sentence in (
        ("http://127.0.0.1:1", "nothing accepts connections at 127.0.0.1:1: Connection refused"),
        ("http://192.0.2.7:80", "add --allow-remote if you may do that"),
        ("http://127.0.0.1", "the port is missing"),
    ):
        code, output = command.run("sweep", url, *BODY, *CLOSED, *END)
        assert code == 2, output
        assert sentence in output
        assert len(output.strip().splitlines()) == 1
