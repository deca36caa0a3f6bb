"""TorchScript in KServe's own model server, from its Python SDK: the process inside a predictor's pod, no Kubernetes.

Its V2 REST is left out on purpose: the SDK turns every value of a binary tensor into a Python number, 47 ms for an
image of 224 by 224 pixels, so that figures would tell of that alone.
"""

import json
from pathlib import Path

from nightbench.model import Format
from nightbench.server import Command, Metrics, Protocol, ServeRequest, ServerSpec
from servers.raw_http import signature, thread_env

__all__ = ["SERVER"]


def command(request: ServeRequest) -> Command:
    described = request.workdir / "signature.json"
    described.write_text(json.dumps(signature(request.model)), encoding="utf-8")
    return Command(
        argv=(
            *(str(request.python), "-I", "-u", str(SERVER.folder / "serve.py")),
            *("--artifact", str(request.artifact.path)),
            *("--signature", str(described)),
            *("--host", request.host),
            *("--threads", str(request.threads)),
            *("--load-time", str(request.load_time_path)),
            # From here on, KServe's own flags.
            *("--model_name", request.model.name),
            *("--http_port", str(request.ports["http"])),
            *("--grpc_port", str(request.ports["grpc"])),
            *("--workers", "1"),
            *("--timeout-keep-alive", "600"),
            # A line for every request is what KServe writes by default, and no other server here.
            *("--enable_latency_logging", "false"),
            # Its own bound of 8 MiB refuses sixteen images at once; no other server here does.
            *("--grpc_max_receive_message_length", str(_LONGEST_MESSAGE_BYTES)),
            *("--grpc_max_send_message_length", str(_LONGEST_MESSAGE_BYTES)),
        ),
        env=thread_env(request.threads),
    )


_LONGEST_MESSAGE_BYTES = 2**31 - 1
"""The most that gRPC can be told."""

SERVER = ServerSpec(
    name="kserve",
    title="KServe (Python SDK)",
    folder=Path(__file__).parent,
    distribution="kserve",
    formats=(Format.TORCHSCRIPT,),
    protocols={Protocol.KSERVE_GRPC: "grpc", Protocol.KSERVE_V1: "http"},
    command=command,
    ports=("http", "grpc"),
    metrics=Metrics(port="http", path="/metrics"),
    start_estimate_s=6.0,
)
