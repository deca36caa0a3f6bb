"""ONNX Runtime's own options, for real: those that work here give right answers, the others one sentence."""

from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from nightbench.model import Artifact, Format
from nightbench.server import OptionValue
from servers import discover
from tests.servers.raw import ask
from tests.servers.running import Start, running, serve_request

FEW_THREADS = 40  # fewer than the 50 that are asked for


@pytest.mark.parametrize(
    "options",
    [
        {"graph_optimization_level": "disabled"},
        {"execution_mode": "parallel", "inter_op_num_threads": 2, "intra_op_num_threads": 2},
    ],
)
def test_settings_change_no_answer(start: Start, options: dict[str, OptionValue]) -> None:
    server = start("onnxruntime", Format.ONNX, **options)
    with closing(HTTPConnection("127.0.0.1", server.port(), timeout=10)) as own:
        ask(own, batch=3)


def test_its_threads_are_its_own_option_over_the_suites(start: Start) -> None:
    plain, many = start("onnxruntime", Format.ONNX), start("onnxruntime", Format.ONNX, intra_op_num_threads=50)
    assert plain.tree()[0].num_threads() < FEW_THREADS < many.tree()[0].num_threads()


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_that_cannot_run_here_is_named_and_never_replaced(
    artifacts: dict[Format, Artifact], tmp_path: Path, provider: str
) -> None:
    spec = discover()["onnxruntime"]
    request = serve_request(spec, artifacts[Format.ONNX], tmp_path, provider=provider)
    with pytest.raises(AssertionError, match=f"provider {provider} "), running(request, spec, "/healthz"):
        pass
