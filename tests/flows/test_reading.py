"""`nightbench compare`, `report --against` and `export-results` on stored runs, as somebody types them."""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from db import embedded
from db.migrate import migrate
from db.store import Store
from nightbench.record import MeasurementRecord
from tests.dashboards.conftest import night_records
from tests.dashboards.wide import in_containers, times
from tests.flows.conftest import Bench, bench_at

# As the lead's command line does, whether it knows the commands already or not.
RUN = """
from flows import cli
for verb in ("compare", "export-results"):
    if verb not in cli.COMMANDS:
        name = verb.replace("-", "_")
        cli.app.command(f"flows.commands.{name}:{name}", name=verb)
cli.main()
"""
MODELS = ("mobilenet_v2",)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Iterator[Bench]:
    """A run, one with a slower server, and one in containers."""
    made = bench_at(tmp_path_factory.mktemp("reading"), shared_cache)
    url = embedded.start(made.home)
    migrate(url)
    with Store(url) as store:
        plain = list(night_records(MODELS))
        slow = [
            replace(
                record,
                latency_ns={name: times(each, 1.5) for name, each in record.latency_ns.items()},
                throughput_rps=times(record.throughput_rps, 1 / 1.5),
            )
            if isinstance(record, MeasurementRecord) and record.case.server == "onnxruntime"
            else record
            for record in plain
        ]
        for run_id, records in (("first", plain), ("slower", slow), ("contained", list(in_containers(plain)))):
            store.ingest([replace(record, run_id=run_id) for record in records])
    try:
        yield made
    finally:
        made.run("down")


def called(bench: Bench, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        env={**bench.environment, "PYTHONPATH": str(Path.cwd()), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        cwd=bench.home,
        timeout=180,
        check=False,
    )


def test_compare_prints_what_changed_and_what_it_cannot_compare(bench: Bench) -> None:
    done = called(bench, "compare", "first", "slower")
    assert done.returncode == 0
    assert "regressed against run first" in done.stdout
    (median,) = [
        line for line in done.stdout.splitlines() if "onnxruntime" in line and "closed c1" in line and "p50" in line
    ]
    assert "50.0 % slower" in median
    assert "regressed" in median
    assert "not compared" not in done.stdout
    apart = called(bench, "compare", "first", "contained")
    assert apart.returncode == 0
    assert "launcher: docker here, process there" in apart.stdout


def test_compare_as_json_is_json_and_nothing_else(bench: Bench) -> None:
    told = json.loads(called(bench, "compare", "first", "slower", "--json").stdout)
    assert (told["before"], told["after"], told["not_compared"]) == ("first", "slower", [])
    slower = [each for each in told["series"] if each["verdict"] == "regressed"]
    assert {each["series"].partition(",")[0] for each in slower} == {"onnxruntime"}
    for each in slower:
        ratio = each["ratio"]
        assert ratio["low"] < ratio["value"] < ratio["high"]
        assert ratio["value"] == pytest.approx(1 / 1.5 if each["metric"] == "throughput_rps" else 1.5)
        assert each["doubts_before"] == each["doubts_after"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("compare", "slower", "slower"), "BEFORE: 'slower' is run slower itself"),
        (("compare", "gone", "slower"), "no stored run begins with 'gone'"),
        (("report", "slower", "--against", "slower"), "--against: 'slower' is run slower itself"),
        (("export-results", "slower", "--format", "pdf", "--per", "round"), "--per: a PDF has no rows"),
        (("export-results", "slower", "--format", "xls"), 'Invalid value "xls" for --format'),
        (("export-results", "slower"), "--format"),
        (("export-results", "slower", "--format", "csv", "--output", "/proc/none.csv"), "--output: /proc/none.csv"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(bench: Bench, arguments: tuple[str, ...], said: str) -> None:
    done = called(bench, *arguments)
    assert done.returncode == 2
    assert said in (done.stdout + done.stderr)
    assert "Traceback" not in done.stderr


def test_a_report_against_another_run_does_not_replace_the_runs_own(bench: Bench) -> None:
    alone = Path(called(bench, "report", "slower").stdout.strip())
    against = Path(called(bench, "report", "slower", "--against", "first").stdout.strip())
    assert alone.name == "report.html"
    assert against.name == "report-against-first.html"
    assert "Against run first" in against.read_text(encoding="utf-8")
    assert "Against run first" not in alone.read_text(encoding="utf-8")
    contained = Path(called(bench, "report", "contained").stdout.strip())
    assert "servers in containers" in contained.read_text(encoding="utf-8")


def test_results_are_never_written_over_unasked(bench: Bench) -> None:
    done = called(bench, "export-results", "slower", "--format", "csv")
    path = Path(done.stdout.strip())
    assert path == bench.home / "runs" / "slower" / "results.csv"
    with path.open(encoding="utf-8", newline="") as file:
        assert {row["run_id"] for row in csv.DictReader(file)} == {"slower"}
    path.write_text("mine", encoding="utf-8")
    again = called(bench, "export-results", "slower", "--format", "csv")
    assert again.returncode == 2
    assert "is there already; choose another, or add --force" in again.stderr
    assert path.read_text(encoding="utf-8") == "mine"
    assert called(bench, "export-results", "slower", "--format", "csv", "--force").returncode == 0
    assert path.read_text(encoding="utf-8").startswith("run_id,")
    assert [each.name for each in path.parent.iterdir() if each.name.startswith(".")] == []
