"""Suites meet the registries: unknown names, impossible combinations and twins are found before any work."""

from dataclasses import replace
from pathlib import Path

import pytest

from nightbench.catalog import Catalog, resolve
from nightbench.errors import UsageError
from nightbench.model import DType, Format, ModelSpec, TensorSpec, Tolerance
from nightbench.server import Command, Option, Protocol, ServerSpec
from nightbench.suite import parse_suite

MODEL = ModelSpec(
    name="mobilenet",
    family="cnn",
    version=1,
    inputs=(TensorSpec("x", DType.FP32, (3,)),),
    outputs=(TensorSpec("y", DType.FP32, (2,)),),
    tolerance=Tolerance(1e-4, 1e-3),
)
SERVER = ServerSpec(
    name="triton",
    title="",
    folder=Path(),
    distribution="",
    formats=(Format.ONNX,),
    protocols={Protocol.KSERVE_HTTP: "http", Protocol.KSERVE_GRPC: "grpc"},
    command=lambda _: Command(()),
    options=(
        Option("instances", 1, "", minimum=1),
        Option("level", "all", "", choices=("all", "none")),
        Option("batching", False, ""),
        Option("delay_ms", 1.5, "", minimum=0),
    ),
)
CATALOG = Catalog({"mobilenet": MODEL}, {"triton": SERVER, "pytorch": replace(SERVER, name="pytorch")})


def suite(servers: str = "[triton]", models: str = "[mobilenet]", loads: str = "[{closed: 1}]", extra: str = "") -> str:
    return f"name: s\nrounds: 2\nsweeps:\n  - models: {models}\n    servers: {servers}\n    loads: {loads}\n{extra}"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (suite(models="[mobilnet]"), "sweeps.0.models.0: model 'mobilnet' is unknown; did you mean 'mobilenet'?"),
        (suite(servers="[tritton]"), "sweeps.0.servers.0: server 'tritton' is unknown; did you mean 'triton'?"),
        (
            suite(servers="[{name: triton, format: torchscript}]"),
            "servers.0.format: triton cannot serve 'torchscript'; use one of: onnx",
        ),
        (
            suite(servers="[{name: triton, protocols: [raw-http]}]"),
            "triton does not speak 'raw-http'; use one of: kserve-http, kserve-grpc",
        ),
        (
            suite(servers="[{name: triton, options: {instance: 2}}]"),
            "has no option 'instance'; did you mean 'instances'",
        ),
        (suite(servers="[{name: triton, options: {instances: 0}}]"), "instances: 0 is too small; give at least 1"),
        (suite(servers="[{name: triton, options: {instances: true}}]"), "True is wrong; give a int such as 1"),
        (suite(servers="[{name: triton, options: {level: some}}]"), "'some' is not possible; use one of: all, none"),
        (suite(servers="[triton, triton]"), "triton on mobilenet (kserve-http, batch 1, closed c1) is planned twice"),
        (suite(loads="[{closed: 1}, {closed: 1}]"), "is planned twice"),
        (suite(servers="[triton, {name: triton, options: {instances: 1}}]"), "is planned twice"),
        (
            suite(loads="[{open: {peak_share: 0.7}}, {search: knee}]"),
            "triton on mobilenet (kserve-http, batch 1) shall be sent poisson 70 % of peak, but no search for it is "
            "planned; add the load 'search: peak' for the same servers and batches",
        ),
        (
            suite(loads="[{open: {peak_share: 0.7}}, {search: peak}, {search: {peak: {most_concurrent: 8}}}]"),
            "but two searches for it are planned; keep one",
        ),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(parse_suite(text, "x.yaml"), CATALOG, "x.yaml")
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("x.yaml: ")


def test_every_combination_is_planned_in_every_round_with_defaults_filled_in() -> None:
    text = suite(
        servers="[pytorch, {name: triton, protocols: [kserve-http, kserve-grpc]}]", loads="[{closed: 1}, {closed: 2}]"
    )
    plan = resolve(parse_suite(text, "x"), CATALOG, "x")
    assert len(plan.replicates) == 2 * 2
    assert len(plan.cells) == 2 * (2 + 4)
    assert plan.replicates[0].setup.options_map == {"instances": 1, "level": "all", "batching": False, "delay_ms": 1.5}
    assert len(plan.exports) == 1


def test_a_whole_number_is_a_fine_value_for_a_fractional_option() -> None:
    plan = resolve(parse_suite(suite(servers="[{name: triton, options: {delay_ms: 2}}]"), "x"), CATALOG, "x")
    assert plan.replicates[0].setup.options_map["delay_ms"] == 2


def test_a_share_of_a_peak_may_be_searched_for_in_another_sweep() -> None:
    shares = "  - {models: [mobilenet], servers: [triton], batches: [1, 8], loads: [{open: {peak_share: 0.7}}]}\n"
    searches = shares.replace("open: {peak_share: 0.7}", "search: peak")
    plan = resolve(parse_suite(suite(extra=shares + searches), "x"), CATALOG, "x")
    assert len(plan.cells) == 2 * (1 + 2 + 2)
    with pytest.raises(UsageError, match=r"x: sweeps\.1\.servers\.0: triton on mobilenet .kserve-http, batch 8. shall"):
        resolve(parse_suite(suite(extra=shares + searches.replace("[1, 8]", "[1]")), "x"), CATALOG, "x")
    with pytest.raises(UsageError, match=r"pytorch on mobilenet .kserve-http, batch 1. shall"):
        resolve(parse_suite(suite(extra=shares.replace("triton", "pytorch") + searches), "x"), CATALOG, "x")


def test_one_trace_under_two_names_is_one_load(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("0\n1\n")
    text = suite(loads="[{open: {trace: a, rate_rps: 5}}, {open: {trace: b, rate_rps: 5}}]")
    with pytest.raises(UsageError, match="is planned twice"):
        resolve(parse_suite(text, "x", tmp_path), CATALOG, "x")
