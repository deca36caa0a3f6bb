"""What the real tritonserver does with models: ensembles, warm-up, loading by hand, versions, several copies."""

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import pytest

from nightbench.model import Format
from nightbench.server import OptionValue
from tests.servers.running import Running, Start
from tests.servers.test_triton import READY, ask, connect, executions, protocol


@pytest.fixture
def serve(start: Start) -> Any:
    return lambda **options: start("triton", Format.ONNX, READY, **options)


def stats(server: Running, model: str = "toy") -> Any:
    with closing(connect("grpc", server)) as client:
        return client.get_inference_statistics(model).model_stats


def call(server: Running, path: str, body: dict[str, Any] | None = None) -> Any:
    """POST to Triton's model repository extension; its answer."""
    with closing(HTTPConnection("127.0.0.1", server.port(), timeout=30)) as connection:
        connection.request("POST", f"/v2/repository/{path}", json.dumps(body or {}))
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        return json.loads(text) if text else None


def ready(server: Running) -> set[str]:
    return {f"{each['name']}/{each['version']}" for each in call(server, "index") if each.get("state") == "READY"}


@pytest.fixture
def client() -> Iterator[Any]:
    opened: list[Any] = []

    def to(server: Running) -> Any:
        opened.append(connect("grpc", server))
        return opened[-1]

    yield to
    for one in opened:
        one.close()


def test_an_ensemble_gives_the_models_own_answers(serve: Any, client: Any) -> None:
    server = serve(ensemble=True, dynamic_batching=True, max_queue_delay_microseconds=5_000)
    for batch in (1, 3, 32):
        ask(protocol("grpc"), client(server), batch, seed=batch)
    with pytest.raises(Exception, match="batch-size must be <= 32"):
        ask(protocol("grpc"), client(server), batch=33)
    executions(server, batch=1)
    (whole,), (first,), (second,) = (stats(server, f"toy{step}") for step in ("", "_preprocess", "_model"))
    assert whole.inference_count == first.inference_count == second.inference_count == 76
    assert second.execution_count < first.execution_count


def test_every_copy_is_a_process_and_warmed_up_before_it_is_ready(serve: Any) -> None:
    server = serve(model_warmup=7, instance_count=2)
    stubs = [one for one in server.tree() if "triton_python_backend_stub" in one.cmdline()[0]]
    assert len(stubs) == 2
    assert stats(server)[0].inference_count == 2 * 7
    assert executions(server, batch=1) == 40


def test_models_and_versions_come_and_go_at_a_clients_word(serve: Any, client: Any) -> None:
    server = serve(model_control_mode="explicit")
    asked = client(server)
    ask(protocol("grpc"), asked, 2)
    call(server, "models/toy/unload")
    with pytest.raises(Exception, match="no available versions"):
        ask(protocol("grpc"), asked, 2)
    call(server, "models/toy/load")
    ask(protocol("grpc"), asked, 2)

    folder = server.request.workdir / "models" / "toy"
    shutil.copytree(folder / "1", folder / "2")
    call(server, "models/toy/load")
    assert ready(server) == {"toy/2"}
    ask(protocol("grpc"), asked, 2)
    with (folder / "config.pbtxt").open("a") as config:
        config.write("version_policy { all { } }\n")
    call(server, "models/toy/load")
    assert ready(server) == {"toy/1", "toy/2"}


def test_a_queue_delay_joins_and_a_preferred_size_ends_the_wait(serve: Any) -> None:
    options: dict[str, OptionValue] = {"dynamic_batching": True, "max_queue_delay_microseconds": 200_000}
    patient, content = serve(**options), serve(preferred_batch_size="4", **options)
    # All 8 clients come within the delay: the one waits for them, the other has enough with 4.
    assert executions(patient, batch=1) < executions(content, batch=1) < 40
    assert 4 in {each.batch_size for each in stats(content)[0].batch_stats}
