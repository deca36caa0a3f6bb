"""A server that speaks the shared memory extension over HTTP and gRPC, and answers ``y = 2 x + 1``.

Written against Triton's documents and its own client's protobuf classes; tests/servers/test_triton_shm.py asks the
real one.
"""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where it is


@dataclass
class FakeTriton:
    """What both protocols share. ``refuses`` is why no region is registered."""

    refuses: str = ""
    http_port: int = 0
    grpc_port: int = 0
    regions: dict[str, Path] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """Every name that was to be registered or, after ``-``, unregistered."""
    together: threading.Barrier | None = None
    """Holds answers back until so many requests are in flight."""

    def register(self, name: str, key: str, size: int) -> str:
        self.asked.append(name)
        path = SHARED_MEMORY / key.removeprefix("/")
        if self.refuses:
            return self.refuses
        if path.stat().st_size != size:
            return "the size is another"
        self.regions[name] = path
        return ""

    def unregister(self, name: str) -> None:
        self.asked.append(f"-{name}")
        self.regions.pop(name, None)

    def infer(self, source: tuple[str, int, int], target: tuple[str, int, int] | None) -> bytes:
        """The result, which is also written to ``target``."""
        x = np.frombuffer(self._open(source), "<f4")
        result = (2 * x + 1).astype("<f4").tobytes()
        if target is not None:
            region, at, size = target
            assert size == len(result)
            with self.regions[region].open("r+b") as file:
                file.seek(at)
                file.write(result)
        if self.together is not None:
            self.together.wait(10)
        return result

    def _open(self, place: tuple[str, int, int]) -> bytes:
        region, at, size = place
        with self.regions[region].open("rb") as file:
            file.seek(at)
            return file.read(size)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    triton: FakeTriton

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parts = self.path.split("/")
        status, answer = 200, b""
        if parts[2] == "systemsharedmemory" and parts[-1] == "register":
            asked = json.loads(body)
            failure = self.triton.register(parts[4], asked["key"], asked["byte_size"])
            if failure:
                status, answer = 400, json.dumps({"error": failure}).encode()
        elif parts[2] == "systemsharedmemory":
            self.triton.unregister(parts[4])
        else:
            answer = self._infer(json.loads(body))
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _infer(self, asked: dict[str, Any]) -> bytes:
        (x,) = asked["inputs"]
        wanted = asked.get("outputs", [{"name": "y", "parameters": None}])[0]
        target = wanted["parameters"] and _place(wanted["parameters"])
        result = self.triton.infer(_place(x["parameters"]), target)
        described = {"name": "y", "datatype": "FP32", "shape": x["shape"]}
        if target:
            return json.dumps({"outputs": [described]}).encode()
        assert asked["parameters"] == {"binary_data_output": True}
        described["parameters"] = {"binary_data_size": len(result)}
        return json.dumps({"outputs": [described]}).encode() + result


def _place(parameters: dict[str, Any]) -> tuple[str, int, int]:
    return (
        parameters["shared_memory_region"],
        parameters.get("shared_memory_offset", 0),
        parameters["shared_memory_byte_size"],
    )


class _Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):
    def __init__(self, triton: FakeTriton) -> None:
        self.triton = triton

    def SystemSharedMemoryRegister(self, request, context):  # noqa: N802 - the service names its methods so
        failure = self.triton.register(request.name, request.key, request.byte_size)
        if failure:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, failure)
        return service_pb2.SystemSharedMemoryRegisterResponse()

    def SystemSharedMemoryUnregister(self, request, context):  # noqa: N802
        self.triton.unregister(request.name)
        return service_pb2.SystemSharedMemoryUnregisterResponse()

    def ModelInfer(self, request, context):  # noqa: N802
        (x,) = request.inputs
        target = _grpc_place(request.outputs[0].parameters) if request.outputs else None
        result = self.triton.infer(_grpc_place(x.parameters), target)
        answer = service_pb2.ModelInferResponse(model_name="m")
        answer.outputs.add(name="y", datatype="FP32", shape=x.shape)
        # Triton adds an empty one for what lies elsewhere.
        answer.raw_output_contents.append(b"" if target else result)
        return answer


def _grpc_place(parameters: Any) -> tuple[str, int, int]:
    return (
        parameters["shared_memory_region"].string_param,
        parameters["shared_memory_offset"].int64_param,
        parameters["shared_memory_byte_size"].int64_param,
    )


@contextmanager
def fake_triton(**fields: Any) -> Iterator[FakeTriton]:
    """Both servers on loopback, until the block ends."""
    triton = FakeTriton(**fields)
    handler = type("Handler", (_Handler,), {"triton": triton})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    rpc = grpc.server(ThreadPoolExecutor(8))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Servicer(triton), rpc)
    triton.http_port, triton.grpc_port = http.server_address[1], rpc.add_insecure_port("127.0.0.1:0")
    rpc.start()
    try:
        yield triton
    finally:
        http.shutdown()
        http.server_close()
        rpc.stop(None).wait()
