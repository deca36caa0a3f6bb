"""`nightbench check`, as a merge request's job calls it."""

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from db import embedded
from db.store import Store
from nightbench.figures import Estimate
from nightbench.record import MeasurementRecord, Record, RunFinished
from tests.flows.conftest import Bench, bench_at
from tests.nightbench.judged import NOW, SUITE, case, cell_rounds, started

# As the lead's command line does, whether it knows the command already or not.
RUN = """
from flows import cli
if "check" not in cli.COMMANDS:
    cli.app.command("flows.commands.check:check", name="check")
cli.main()
"""
MODELS = [f"model_{number}" for number in range(6)]


def night(
    run_id: str, seed: int, age_days: float, slow: float = 1.0, rounds: int = 3, suite: str = SUITE
) -> list[Record]:
    """Six models on one server; the first is ``slow`` times as slow as ever."""
    rng = np.random.default_rng(seed)
    begun = NOW - timedelta(days=age_days)
    records: list[Record] = [replace(started(run_id), suite=suite, started_at=begun)]
    for model in MODELS:
        for record in cell_rounds(case(model=model), rounds=rounds):
            luck = math.exp(rng.normal(0.0, 0.01)) * (slow if model == MODELS[0] else 1.0)
            records.append(scaled(record, luck, run_id))
    return [*records, RunFinished(run_id, begun + timedelta(hours=1), "completed", {})]


def scaled(record: MeasurementRecord, luck: float, run_id: str) -> MeasurementRecord:
    def times(estimate: Estimate, factor: float) -> Estimate:
        return Estimate(estimate.value * factor, estimate.value * factor * 0.998, estimate.value * factor * 1.002)

    return replace(
        record,
        run_id=run_id,
        deployment_id=f"{run_id}-{record.deployment_id}",
        latency_ns={name: times(each, luck) for name, each in record.latency_ns.items()},
        throughput_rps=times(record.throughput_rps, 1 / luck),
    )


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Iterator[Bench]:
    """Thirty calm nights, then one like them, one with a slow model, and a run of a single round; and, of a suite of
    its own, thirty calm nights and nine with a slow model."""
    from nightbench.judge.points import points_of
    from nightbench.summary import summarise

    made = bench_at(tmp_path_factory.mktemp("check"), shared_cache)
    home = made.home
    with Store(_database(home)) as store:

        def judged(records: list[Record]) -> None:
            summary = summarise(records)
            store.ingest(records)
            store.put_points(summary.run.run_id, points_of(summary, summary.run.suite))

        for number in range(30):
            judged(night(f"calm-{number:02}", number, 40 - number))
        store.ingest(night("alike", 100, 3))
        store.ingest(night("slow", 101, 2, slow=1.3))
        store.ingest(night("single", 102, 1, rounds=1))
        for number in range(38):
            slow = 1.12 if number >= 30 else 1.0
            judged(night(f"stepped-{number:02}", 200 + number, 40 - number, slow, suite="stepped"))
        store.ingest(night("slow-still", 300, 1, slow=1.12, suite="stepped"))
    try:
        yield made
    finally:
        made.run("down")


def _database(home: Path) -> str:
    from db.migrate import migrate

    url = embedded.start(home)
    migrate(url)
    return url


def check(bench: Bench, *arguments: str) -> tuple[int, str]:
    process = _called(bench, "check", *arguments)
    return process.returncode, process.stdout + process.stderr


def _called(bench: Bench, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        env={**bench.environment, "PYTHONPATH": str(Path.cwd()), "COLUMNS": "250"},
        capture_output=True,
        text=True,
        cwd=bench.home,
        timeout=180,
        check=False,
    )


@pytest.mark.parametrize(
    ("run", "against", "code", "headline"),
    [
        ("alike", "last-good", 0, "none of 18 series regressed against the last good nights"),
        # One night is little: history does not call it regressed, and does not let it pass.
        ("slow", "last-good", 3, "none of 18 series regressed against the last good nights; 3 insufficient"),
        ("slow-still", "last-good", 1, "3 of 18 series regressed against the last good nights"),
        ("alike", "calm-29", 0, "none of 18 series regressed against run calm-29"),
        ("slow", "alike", 1, "3 of 18 series regressed against run alike"),
        ("single", "alike", 3, "none of 18 series regressed against run alike; 18 invalid"),
    ],
)
def test_the_exit_code_says_whether_a_run_is_worse(
    bench: Bench, run: str, against: str, code: int, headline: str
) -> None:
    found, output = check(bench, run, "--against", against)
    assert found == code, output
    assert headline in output
    assert "Traceback" not in output
    assert ("model_0" in output) == run.startswith("slow") or run == "single"


def test_a_figure_that_is_no_number_is_a_text_in_json() -> None:
    from flows.commands.check import _told
    from nightbench.judge.check import Check, Checked
    from nightbench.judge.series import Metric, SeriesKey
    from nightbench.judge.verdict import Verdict

    nothing = Checked(SeriesKey("s", "f", Metric.LATENCY_P50_NS), "x", Verdict.INVALID, None, Estimate(math.inf))
    told = json.loads(json.dumps(_told(Check("s", "r", "run b", (nothing,))), allow_nan=False))
    assert told["series"][0]["after"] == {"value": "Infinity", "low": None, "high": None}
    assert told["series"][0]["key"] == {"suite": "s", "fingerprint": "f", "metric": "latency_p50_ns"}


@pytest.mark.parametrize("command", ["check", "judge", "show"])
def test_a_run_whose_beginning_was_lost_is_one_sentence(bench: Bench, command: str) -> None:
    with Store(_database(bench.home)) as store:
        store.ingest([record for record in night("lost", 400, 2) if isinstance(record, MeasurementRecord)])
    done = _called(bench, command, "lost")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("nightbench: run: the beginning of lost is not stored; ")


@pytest.mark.parametrize("command", ["check", "judge"])
def test_json_has_nothing_else_beside_it(bench: Bench, command: str) -> None:
    torn = bench.home / "spool" / "torn.jsonl"
    torn.parent.mkdir(exist_ok=True)
    torn.write_text("rotten\n")
    done = _called(bench, command, "alike", "--json")
    torn.unlink()
    assert json.loads(done.stdout)["run"] == "alike"
    assert "1 damaged spool lines were skipped" in done.stderr


def test_what_it_writes_says_the_same(bench: Bench) -> None:
    paths = bench.home / "check.xml", bench.home / "check.md"
    code, output = check(
        bench, "slow", "--against", "alike", "--junit", str(paths[0]), "--markdown", str(paths[1]), "--json"
    )
    assert code == 1
    told = json.loads(output)
    assert (told["run"], told["against"], told["exit_code"]) == ("slow", "run alike", 1)
    regressed = [each for each in told["series"] if each["verdict"] == "regressed"]
    assert {each["key"]["metric"] for each in regressed} == {"throughput_rps", "latency_p50_ns", "latency_p99_ns"}
    for each in regressed:
        slower = each["key"]["metric"].endswith("_ns")
        assert each["ratio"]["low"] < (1.3 if slower else 1 / 1.3) < each["ratio"]["high"]
    root = ET.parse(paths[0]).getroot()  # noqa: S314 - our own
    assert (root.get("tests"), root.get("failures")) == ("18", "3")
    assert paths[1].read_text().count("| regressed |") == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nosuch"], "no stored run begins with 'nosuch'"),
        (["slow", "--against", "nosuch"], "no stored run begins with 'nosuch'"),
        (["slow", "--against", "slow"], "--against: 'slow' is the run itself"),
        (["calm"], "could be"),
        (["slow", "--junit", "/nosuch/file.xml"], "/nosuch/file.xml cannot be written"),
    ],
)
def test_bad_input_is_one_sentence(bench: Bench, arguments: list[str], sentence: str) -> None:
    code, output = check(bench, *arguments)
    assert code == 2, output
    assert sentence in output
    assert len(output.strip().splitlines()) == 1
