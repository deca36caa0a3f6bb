"""A server that needs nothing but Python, in an environment of its own that is built in a moment, and nights of it.

It answers what it is sent, after a delay that a package of its own, its code and an option each add to.
"""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from db import spool
from flows.offline import run_offline
from flows.registry import load_catalog
from nightbench.catalog import Catalog
from nightbench.errors import UsageError
from nightbench.figures import Estimate
from nightbench.judge.night import Suspect
from nightbench.judge.series import Metric, SeriesKey
from nightbench.judge.verdict import Change
from nightbench.record import MeasurementRecord, Record
from nightbench.settings import Settings
from tasks.progress import Silent
from tasks.request import Request, fresh

__all__ = ["World", "world"]

SPEC = """
from pathlib import Path

from nightbench.model import Format
from nightbench.server import Command, Option, Protocol, ServeRequest, ServerSpec


def command(request: ServeRequest) -> Command:
    script = str(SERVER.folder / "serve.py")
    delay = str(request.options["delay_ms"])
    return Command((str(request.python), "-I", script, str(request.ports["http"]), delay))


SERVER = ServerSpec(
    name="echo", title="Echo", folder=Path(__file__).parent, distribution="echowords", formats=(Format.ONNX,),
    protocols={Protocol.RAW_HTTP: "http"}, command=command, options=(Option("delay_ms", 0, "Added."),),
    ready_timeout_s=20.0, start_estimate_s=0.5,
)
"""

SERVE = """
import sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import echowords

OWN_MS = {own_ms}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep((OWN_MS + echowords.DELAY_MS + float(sys.argv[2])) / 1000)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

SUITE = """
name: echoes
rounds: 1
measure: {{warmup_s: 0.1, duration_s: 0.3, timeout_s: 3, calibrate: false}}
judge: {{min_effect: 0.15, confirm: {{min_pairs: 4, max_pairs: 8}}}}
sweeps:
  - models: [{{name: same, custom: {{file: same.onnx}}}}]
    servers: [{{name: echo, options: {{delay_ms: {delay_ms}}}}}]
    loads: [{{closed: 4}}]
"""


@dataclass
class World:
    """A home, a server's folder that can be changed from night to night, and the nights so far."""

    home: Path
    nights: dict[str, list[Record]] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        folder = self.home / "servers"
        return Settings.from_environment(
            {
                "NIGHTBENCH_HOME": str(self.home / "home"),
                "NIGHTBENCH_CACHE": str(self.home / "cache"),
                "NIGHTBENCH_SERVERS_PATH": str(folder),
            }
        )

    @property
    def catalog(self) -> Catalog:
        return load_catalog(self.settings)

    def write(self, *, package_ms: int, own_ms: int = 0, words: str = "") -> None:
        """The server as it shall be from now on."""
        folder = self.home / "servers" / "echo"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").write_text(SPEC)
        (folder / "serve.py").write_text(SERVE.format(own_ms=own_ms) + words)
        (folder / "requirements.txt").write_text(f"echowords @ {_wheel(self.home, package_ms).as_uri()}\n")

    def request(self, delay_ms: int = 0) -> Request:
        tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "xy"]
        graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "same", tensors[:1], tensors[1:])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.save(model, self.home / "same.onnx")
        (self.home / "suite.yaml").write_text(SUITE.format(delay_ms=delay_ms))
        return fresh(self.home / "suite.yaml", self.catalog)

    def night(self, delay_ms: int = 0) -> str:
        """Measure one, and have it in the database; its run's id."""
        request = self.request(delay_ms)
        run_offline(request, self.settings, self.catalog, Silent())
        self.nights[request.run_id] = list(spool.read(self.settings.spool / f"{request.run_id}.jsonl").records)
        return request.run_id

    def records(self, run_id: str, *kinds: type[Record]) -> list[Record]:
        """As `db.store.Store` gives them."""
        if run_id not in self.nights:
            raise UsageError(f"no run {run_id}")
        return [each for each in self.nights[run_id] if not kinds or isinstance(each, kinds)]

    def measured(self, run_id: str) -> MeasurementRecord:
        return next(each for each in self.nights[run_id] if isinstance(each, MeasurementRecord))

    def suspect(self, good_run_id: str, delay_ms: int = 0) -> Suspect:
        """The night's only cell, of which history says that it became half as slow again."""
        cell = self.request(delay_ms).plan.cells[0]
        was = self.measured(good_run_id)
        before = was.latency_ns["p50"].value
        change = Change("tonight", good_run_id, 1, Estimate(before), Estimate(1.5 * before), 1e-5, firm=True)
        key = SeriesKey("echoes", was.case.fingerprint, Metric.LATENCY_P50_NS)
        return Suspect(key, cell.label, cell, change, good_run_id)


def _plain_figure(record: MeasurementRecord, _: Metric) -> float:
    """Whatever is doubted: these tests share their machine with others, and plant what no noise can hide."""
    return record.latency_ns["p50"].value


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("tasks.ab.trial.figure", _plain_figure)
    monkeypatch.setattr("tasks.opening.LOCK", tmp_path / "lock")
    return World(tmp_path)


def _wheel(home: Path, delay_ms: int) -> Path:
    """The package, in a version for each delay."""
    wheel = home / f"echowords-{delay_ms}.0-py3-none-any.whl"
    info = f"echowords-{delay_ms}.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("echowords.py", f"DELAY_MS = {delay_ms}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: echowords\nVersion: {delay_ms}.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel
