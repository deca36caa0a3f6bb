"""A suite changed for one run: another suite, that measures what was asked for."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flows.registry import SUITES, load_catalog
from nightbench.catalog import resolve
from nightbench.changes import Changes, changed
from nightbench.errors import UsageError
from nightbench.plan import Plan
from nightbench.settings import Settings
from nightbench.suite import Suite, load_suite, parse_suite

CATALOG = load_catalog(Settings.from_environment({"HOME": "/nowhere"}))
SMOKE, SMOKE_TEXT = load_suite(SUITES / "smoke.yaml")
NIGHTLY, NIGHTLY_TEXT = load_suite(SUITES / "nightly.yaml")


def planned(suite: Suite, text: str, changes: Changes) -> Plan:
    other = changed(suite, text, changes, CATALOG)
    return resolve(parse_suite(other, "changed"), CATALOG, "changed")


def servers(plan: Plan) -> set[str]:
    return {replicate.setup.server for replicate in plan.replicates}


def test_with_nothing_changed_it_is_the_very_text() -> None:
    assert changed(SMOKE, SMOKE_TEXT, Changes(), CATALOG) == SMOKE_TEXT


def test_what_is_named_is_all_that_is_measured() -> None:
    changes = Changes(
        servers=("fastapi", "triton"), protocols=("raw-http", "kserve-grpc"), batches=(2,), rounds=1, duration_s=1.5
    )
    plan = planned(SMOKE, SMOKE_TEXT, changes)
    assert servers(plan) == {"fastapi", "triton"}
    assert {(cell.setup.server, cell.protocol.value) for cell in plan.cells} == {
        ("fastapi", "raw-http"),
        ("triton", "kserve-grpc"),
    }
    assert {cell.batch for cell in plan.cells} == {2}
    assert plan.rounds == 1
    other = parse_suite(changed(SMOKE, SMOKE_TEXT, changes, CATALOG), "changed")
    assert other.measure.duration_s == 1.5
    assert other.measure.warmup_s == SMOKE.measure.warmup_s


def test_a_model_that_only_one_sweep_has_leaves_the_others_out() -> None:
    plan = planned(NIGHTLY, NIGHTLY_TEXT, Changes(models=("resnet50",)))
    assert {cell.setup.export.model for cell in plan.cells} == {"resnet50"}
    assert not any("rps" in cell.load.label for cell in plan.cells)


def test_a_server_that_the_suite_lacks_joins_with_its_defaults() -> None:
    plan = planned(SMOKE, SMOKE_TEXT, Changes(servers=("openvino", "fastapi")))
    assert servers(plan) == {"openvino", "fastapi"}


def test_a_server_keeps_the_options_that_the_suite_gives_it() -> None:
    text = (
        "name: own\nsweeps: [{models: [tiny_cnn], servers: [{name: flask, options: {workers: 2}}], loads: [closed: 1]}]"
    )
    plan = planned(parse_suite(text, "own"), text, Changes(servers=("flask",), rounds=1))
    assert {replicate.setup.options_map["workers"] for replicate in plan.replicates} == {2}


def test_each_format_asked_for_is_measured_on_every_server_that_takes_it() -> None:
    formats = ("onnx", "torchscript", "torch-export")
    plan = planned(SMOKE, SMOKE_TEXT, Changes(servers=("fastapi", "onnxruntime"), formats=formats))
    measured = {(replicate.setup.server, replicate.setup.export.format.value) for replicate in plan.replicates}
    assert measured == {("fastapi", "torchscript"), ("fastapi", "torch-export"), ("onnxruntime", "onnx")}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (Changes(servers=("fastapy",)), r"servers: 'fastapy' is unknown; did you mean 'fastapi'\?"),
        (Changes(models=("resnet",)), r"models: 'resnet' is unknown; did you mean 'resnet50'\?"),
        (Changes(formats=("onyx",)), r"formats: 'onyx' is unknown; did you mean 'onnx'\?"),
        (Changes(protocols=("raw_http",)), r"protocols: 'raw_http' is unknown; did you mean 'raw-http'\?"),
        (Changes(batches=(0,)), "batches: 0 is wrong; give whole numbers from 1"),
        (Changes(rounds=-1), "rounds: -1 is wrong; give 1 to 100"),
        (Changes(rounds=101), "rounds: 101 is wrong"),
        (Changes(duration_s=-1.0), "duration_s: -1 is wrong"),
        (Changes(duration_s=float("nan")), "duration_s: nan is wrong"),
        (Changes(duration_s=float("inf")), "duration_s: inf is wrong"),
        (
            Changes(servers=("flask",), protocols=("kserve-grpc",)),
            "protocols: none of flask can do kserve-grpc; `nightbench servers`",
        ),
    ],
)
def test_a_wrong_value_is_one_sentence(changes: Changes, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        changed(SMOKE, SMOKE_TEXT, changes, CATALOG)


def test_it_is_never_taken_for_the_suite_itself_and_alike_changes_are_one_series() -> None:
    names = {
        yaml.safe_load(changed(SMOKE, SMOKE_TEXT, each, CATALOG))["name"]
        for each in (Changes(servers=("fastapi", "flask")), Changes(servers=("flask", "fastapi")))
    }
    assert len(names) == 1
    (name,) = names
    assert name.startswith("smoke-custom-")
    other = yaml.safe_load(changed(SMOKE, SMOKE_TEXT, Changes(servers=("fastapi",)), CATALOG))["name"]
    assert other not in {name, "smoke"}


def test_paths_still_count_from_the_folder_of_the_suite(tmp_path: Path) -> None:
    (tmp_path / "trace.txt").write_text("0.0\n0.1\n0.2\n")
    text = (
        "name: own\nsweeps: [{models: [tiny_cnn], servers: [flask], loads: [open: {trace: trace.txt, rate_rps: 10}]}]"
    )
    suite = parse_suite(text, "own", tmp_path)
    other = changed(suite, text, Changes(rounds=2), CATALOG)
    assert parse_suite(other, "changed", tmp_path).sweeps[0].loads == suite.sweeps[0].loads


ALL = {"pytorch", "fastapi", "flask", "onnxruntime", "triton"}
SOME_SERVERS = st.lists(st.sampled_from(["fastapi", "flask", "onnxruntime", "triton", "openvino"]), unique=True)


@given(
    servers=SOME_SERVERS,
    batches=st.lists(st.integers(1, 64), unique=True, max_size=3),
    rounds=st.integers(0, 5),
    duration_s=st.one_of(st.just(0.0), st.floats(0.1, 3600)),
)
def test_whatever_is_asked_for_is_a_suite_again(
    servers: list[str], batches: list[int], rounds: int, duration_s: float
) -> None:
    changes = Changes(tuple(servers), batches=tuple(batches), rounds=rounds, duration_s=duration_s)
    other = parse_suite(changed(SMOKE, SMOKE_TEXT, changes, CATALOG), "changed")
    plan = resolve(other, CATALOG, "changed")
    assert {each.setup.server for each in plan.replicates} == (set(servers) or ALL)
    assert plan.rounds == (rounds or SMOKE.rounds)
    assert other.measure.duration_s == (duration_s or SMOKE.measure.duration_s)
