"""A server that is running already: what a suite may say of it, and what the plan then knows."""

from dataclasses import replace

import pytest

from nightbench.catalog import resolve
from nightbench.errors import UsageError
from nightbench.figures import Reason
from nightbench.server import EXTERNAL, Protocol
from nightbench.suite import parse_suite
from nightbench.summary import summarise
from tests.nightbench.summarised import STARTED, measured
from tests.nightbench.test_catalog import CATALOG, suite

HERE = "url: http://127.0.0.1:9000, protocol: kserve-http"


def external(facts: str, name: str = "mine", more: str = "") -> str:
    return suite(servers=f"[{{name: {name}, external: {{{facts}}}{more}}}]")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (external("url: http://example.org:80, protocol: raw-http"), "example.org is not this machine's loopback"),
        (external("url: http://10.0.0.7:80, protocol: raw-http"), "add 'allow_remote: true' if you may do that"),
        (external("url: http://127.0.0.1, protocol: raw-http"), "'http://127.0.0.1' is not http://HOST:PORT"),
        (external("url: https://127.0.0.1:9000, protocol: raw-http"), "is not http://HOST:PORT"),
        (external("url: http://127.0.0.1:port, protocol: raw-http"), "is not http://HOST:PORT"),
        (external("url: http://127.0.0.1:9000, protocol: in-process"), "in-process is no way to ask"),
        (external("url: http://127.0.0.1:9000"), "external.protocol: is missing"),
        (external("url: http://127.0.0.1:9000, protocol: kserve"), "did you mean"),
        (external(HERE, more=", protocols: [raw-http]"), "leave out 'protocols' and 'options'"),
        (external(HERE, more=", options: {level: all}"), "leave out 'protocols' and 'options'"),
        (external(HERE, name="triton"), "servers.0.name: 'triton' is the name of another server"),
        (
            suite(servers=f"[{{name: a, external: {{{HERE}}}}}, {{name: a, external: {{{HERE}, model: b}}}}]"),
            "servers.1.name: 'a' is the name of another server",
        ),
    ],
)
def test_what_cannot_be_asked_is_said_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(parse_suite(text, "x.yaml"), CATALOG, "x.yaml")
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("x.yaml: ")


@pytest.mark.parametrize(
    ("facts", "host", "port", "path"),
    [
        (HERE, "127.0.0.1", 9000, ""),
        ("url: 'http://[::1]:9000/', protocol: raw-http", "::1", 9000, ""),
        ("url: 'http://localhost:9000/predict?fast=1', protocol: raw-http", "localhost", 9000, "/predict?fast=1"),
        ("url: grpc://127.0.0.1:9001, protocol: kserve-grpc", "127.0.0.1", 9001, ""),
        ("url: http://10.0.0.7:80, protocol: raw-http, allow_remote: true", "10.0.0.7", 80, ""),
    ],
)
def test_it_is_found_where_the_url_says(facts: str, host: str, port: int, path: str) -> None:
    parsed = parse_suite(external(facts), "x")
    endpoint = CATALOG.with_external(parsed).servers["mine"].external
    assert endpoint is not None
    assert (endpoint.host, endpoint.port, endpoint.path) == (host, port, path)


def test_it_is_planned_like_any_other_and_known_by_where_it_is() -> None:
    parsed = parse_suite(external(f"{HERE}, model: resnet"), "x")
    plan = resolve(parsed, CATALOG, "x")
    assert len(plan.replicates) == 2
    (setup,) = {replicate.setup for replicate in plan.replicates}
    assert setup.server == "mine"
    assert setup.options_map == {"url": "http://127.0.0.1:9000", "model": "resnet"}
    assert {cell.protocol for cell in plan.cells} == {Protocol.KSERVE_HTTP}
    assert "mine" not in CATALOG.servers


@pytest.mark.parametrize(("environment", "doubted"), [(EXTERNAL, True), ("3559f7dacfdf", False)])
def test_its_rounds_are_no_restarts(environment: str, doubted: bool) -> None:
    rounds = [replace(measured("a", number), context={"environment": environment}) for number in (1, 2, 3)]
    (cell,) = summarise([STARTED, *rounds]).cells
    assert (Reason.FEW_ROUNDS in {doubt.reason for doubt in cell.doubts}) is doubted
