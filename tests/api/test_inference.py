"""The same input to several servers: what each answers, side by side."""

from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import numpy as np
import pytest

from api import ask
from db.spool import Spool
from export import zoo
from launch.labels import Owner
from nightbench.access import Outcome, Role
from nightbench.model import Format, Precision
from nightbench.server import Endpoint, Protocol
from tasks.live import Live, announced, live_deployments
from tests.api.conftest import NewSite, Site
from tests.db.conftest import make_night

MODEL = zoo.models()["tiny_cnn"]
(INPUT,), (OUTPUT,) = MODEL.inputs, MODEL.outputs


class Server(ThreadingHTTPServer):
    """Speaks bare bytes: answers every item with its sum, and what it adds to it."""

    def __init__(self, adds: float = 0.0, status: int = 200, cut: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.adds, self.status, self.cut = adds, status, cut
        self.asked: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(body)
        items = np.frombuffer(body, "<f4").reshape(int(self.headers["X-Batch"]), -1)
        sums = np.repeat(items.sum(axis=1, keepdims=True), np.prod(OUTPUT.shape), axis=1)
        answer = (sums + self.server.adds).astype("<f4").tobytes()[: 3 if self.server.cut else None]
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def serve() -> Iterator[Any]:
    with ExitStack() as stack:

        def start(**how: Any) -> Server:
            server = stack.enter_context(Server(**how))
            Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            return server

        yield start


def at(server: Server, **more: object) -> dict[str, object]:
    return {"url": server.url, "protocol": "raw-http", **more}


def compare(site: Site, *servers: dict[str, object], **more: object) -> tuple[int, Any]:
    return site.ask("/api/v1/inference", Role.OPERATOR, "POST", {"model": "tiny_cnn", "servers": servers, **more})


def test_answers_and_latencies_stand_side_by_side(site: Site, serve: Any) -> None:
    right, same, other = serve(), serve(), serve(adds=0.5)
    status, body = compare(site, at(right, name="first"), at(same), at(other, name="odd"), batch=2, repeats=3, values=4)
    assert status == 200, body
    first, second, odd = body["answers"]
    assert [each["server"] for each in (first, second, odd)] == ["first", f"127.0.0.1:{same.server_port}", "odd"]
    assert [each["agrees"] for each in (first, second, odd)] == [None, True, False]
    assert OUTPUT.name in odd["difference"]
    assert all(len(each["latencies_ns"]) == 3 and min(each["latencies_ns"]) > 0 for each in body["answers"])
    (output,) = first["outputs"]
    assert (output["name"], output["shape"], len(output["values"])) == (OUTPUT.name, [2, *OUTPUT.shape], 4)
    assert output["sha256"] == second["outputs"][0]["sha256"] != odd["outputs"][0]["sha256"]
    # All were sent the model's own seeded inputs, the same every time.
    (sent,) = zoo.inputs(MODEL, 2).values()
    assert {*right.asked, *same.asked, *other.asked} == {sent.tobytes()}
    assert output["values"][0] == pytest.approx(float(sent[0].sum()), rel=1e-4)
    entry = site.store.audit(1)[0]
    assert (entry.action, entry.outcome, entry.detail) == ("inference", Outcome.DONE, "3 of 3 answered")


def test_given_numbers_are_what_is_sent(site: Site, serve: Any) -> None:
    server = serve()
    numbers = [0.25] * int(np.prod(INPUT.shape))
    status, body = compare(site, at(server), inputs={INPUT.name: numbers})
    assert status == 200, body
    assert server.asked == [np.array(numbers, "<f4").tobytes()]


def test_servers_that_do_not_answer_are_answers_too(site: Site, serve: Any) -> None:
    down = serve()
    down.shutdown()
    down.server_close()
    servers = [at(down, name="down"), at(serve(status=503), name="busy"), at(serve(cut=True), name="cut"), at(serve())]
    status, body = compare(site, *servers)
    assert status == 200, body
    assert [each["outcome"] for each in body["answers"]] == ["refused", "http_503", "unreadable", "ok"]
    # The only one that answered has nobody to agree with.
    assert [each["agrees"] for each in body["answers"]] == [None] * 4
    assert "3 bytes" in body["answers"][2]["detail"]
    assert site.store.audit(1)[0].detail == "1 of 4 answered"


def test_a_server_that_never_answers_ends_with_the_whole(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "TOTAL_S", 0)
    status, body = compare(site, {"url": "http://127.0.0.1:9", "protocol": "raw-http"})
    assert (status, body["answers"][0]["outcome"]) == (200, "cannot_ask")


@pytest.mark.parametrize(
    ("server", "status", "words"),
    [
        ({"url": "http://192.0.2.1:80", "protocol": "raw-http"}, 400, "not this machine's loopback"),
        ({"url": "http://example.com:80", "protocol": "raw-http"}, 400, "not this machine's loopback"),
        ({"url": "http://127.0.0.1:4200", "protocol": "json-http"}, 400, "port 4200 is nightbench's own"),
        ({"url": "http://127.0.0.1:80/x", "protocol": "kserve-http"}, 400, "has a path of its own"),
        ({"url": "http://127.0.0.1:80"}, 400, "servers.0.protocol: say which"),
        ({"url": "http://127.0.0.1:80", "protocol": "in-process"}, 400, "servers.0.protocol: say which"),
        ({"url": "http://u:p@127.0.0.1:80", "protocol": "raw-http"}, 400, "a user name"),
        ({"url": "file:///etc/passwd", "protocol": "raw-http"}, 422, "servers.0.url"),
        ({"url": "http://127.0.0.1:80/ HTTP/1.1\r\nX: y", "protocol": "raw-http"}, 422, "servers.0.url"),
        ({"url": "http://127.0.0.1:80", "protocol": "kserve-http", "model": "a\r\nb"}, 422, "servers.0.model"),
        ({}, 400, "servers.0: give a deployment, or a url"),
        ({"deployment": "toy-r1-abc"}, 404, "'toy-r1-abc' is not up"),
    ],
)
def test_what_is_no_running_server_here_is_refused(
    site: Site, server: dict[str, object], status: int, words: str
) -> None:
    answered, body = compare(site, server)
    assert (answered, words in body["detail"]) == (status, True), body


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"model": "tiny_cn"}, "did you mean 'tiny_cnn'?"),
        ({"inputs": {"x": [1.0]}}, "inputs.x: is no input of the model"),
        ({"inputs": {}}, "is missing; give [1,"),
        ({"inputs": {INPUT.name: [1.0, 2.0]}}, "has 2 numbers"),
        ({"prompt": "hello"}, "prompt: is for one request to a language model"),
        ({"model": "tiny_llama", "batch": 2}, "answers one request at a time"),
    ],
)
def test_an_input_that_is_not_the_models_is_refused(site: Site, serve: Any, more: Any, words: str) -> None:
    server = serve()
    status, body = compare(site, at(server), **more)
    assert (status, words in body["detail"]) == (400, True), body
    assert server.asked == []


def _live(server: Server, model: str = "tiny_cnn") -> Live:
    endpoint = Endpoint(Protocol.RAW_HTTP, "127.0.0.1", server.server_port, model)
    names = ("night-1", "fastapi-r1-ab12cd", "fastapi", model)
    return Live(*names, Format.TORCHSCRIPT, Precision.FP32, "random", {Protocol.RAW_HTTP: endpoint})


def test_a_deployment_of_a_run_is_listed_and_asked_only_by_those_who_mean_it(site: Site, serve: Any) -> None:
    server = serve()
    by_deployment, by_url = {"deployment": "fastapi-r1-ab12cd"}, at(server)
    with announced(site.services.live, _live(server)):
        _, listed = site.ask("/api/v1/servers")
        (fastapi,) = (each for each in listed["items"] if each["name"] == "fastapi")
        assert fastapi["running"] == [
            {
                "deployment_id": "fastapi-r1-ab12cd",
                "run_id": "night-1",
                "model": "tiny_cnn",
                "format": "torchscript",
                "precision": "fp32",
                "protocols": ["raw-http"],
            }
        ]
        for choice in (by_deployment, by_url):
            status, body = compare(site, choice)
            assert (status, "run night-1 is measuring" in body["detail"]) == (409, True)
        # Any other server, too, takes time of the processors that the run measures on.
        other = serve()
        status, body = compare(site, at(other))
        assert (status, "run night-1 is measuring on this machine" in body["detail"]) == (409, True)
        assert server.asked == other.asked == []
        assert site.store.audit(1)[0].outcome is Outcome.REFUSED
        status, body = compare(site, by_deployment, disturb=True)
        assert (status, body["answers"][0]["server"], body["answers"][0]["outcome"]) == (200, "fastapi", "ok")
        assert site.store.audit(1)[0].what["disturb"] is True
        status, body = compare(site, by_deployment, model="resnet50", disturb=True)
        assert (status, "serves tiny_cnn, not resnet50" in body["detail"]) == (400, True)
    assert compare(site, by_deployment, disturb=True)[0] == 404
    assert live_deployments(site.services.live) == []


def test_a_run_between_two_of_its_deployments_is_not_disturbed_either(site: Site, serve: Any) -> None:
    server = serve()
    with Spool.open(site.services.spool, "night-7") as spool:
        spool.append(make_night("night-7", cells=3)[0])
        status, body = compare(site, at(server))
        assert (status, "run night-7 is measuring" in body["detail"]) == (409, True)
        assert server.asked == []
        assert compare(site, at(server), disturb=True)[0] == 200
    assert compare(site, at(server))[0] == 200


def test_operators_ask_no_port_that_anything_may_listen_on(new_site: NewSite, serve: Any) -> None:
    server = serve()
    port = server.server_port
    site = new_site(ports=(port, port))
    status, body = compare(site, at(server))
    assert (status, f"port {port} takes an admin's key" in body["detail"]) == (403, True), body
    assert (server.asked, site.store.audit(1)[0].outcome) == ([], Outcome.REFUSED)
    with announced(site.services.live, _live(server)):
        assert compare(site, at(server), disturb=True)[0] == 200
        # Another address of the loopback is another server.
        elsewhere = {"url": f"http://127.0.0.2:{port}", "protocol": "raw-http"}
        assert compare(site, elsewhere, disturb=True)[0] == 403
    body = {"model": "tiny_cnn", "servers": [at(server)]}
    assert site.ask("/api/v1/inference", Role.ADMIN, "POST", body)[0] == 200


def test_operators_ask_the_ports_that_are_given_to_inference(new_site: NewSite, serve: Any) -> None:
    server = serve()
    site = new_site(ports=(server.server_port, server.server_port + 1))
    assert compare(site, at(server))[0] == 200


def test_what_a_killed_run_announced_is_not_up(site: Site, serve: Any) -> None:
    live = _live(serve())
    with announced(site.services.live, live):
        (path,) = site.services.live.iterdir()
        assert live_deployments(site.services.live) == [live]
        me = Owner.current()
        dead = path.with_name(f"{Owner(2**30, 1, me.space).prefix}x.json")
        dead.write_bytes(path.read_bytes())
        torn = path.with_name(f"{me.prefix}y.json")
        torn.write_text("{")
        assert live_deployments(site.services.live) == [live]
        assert not dead.exists()
        torn.unlink()
