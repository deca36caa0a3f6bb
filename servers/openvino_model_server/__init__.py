"""The OpenVINO Model Server. Written, not run: it exists as an image only, in no package registry.

It serves what ``servers/openvino`` does, with the same settings of the same runtime, by KServe V2 of its own.
"""

import json
import shutil
from pathlib import Path

from nightbench.server import Command, Metrics, Protocol, ServeRequest, ServerSpec
from servers.official import OFFICIAL
from servers.openvino import SERVER as OPENVINO
from servers.openvino_model_server.config import config

__all__ = ["SERVER"]


def command(request: ServeRequest) -> Command:
    """Lay out a model repository with the artifact as version 1, and say what the container runs."""
    version = request.workdir / "models" / request.model.name / "1"
    if request.artifact.path.is_dir():
        shutil.copytree(request.artifact.path, version)
    else:
        version.mkdir(parents=True)
        shutil.copyfile(request.artifact.path, version / "model.onnx")
    settings = request.workdir / "config.json"
    settings.write_text(json.dumps(config(request), indent=2), encoding="utf-8")
    return Command(
        argv=(
            "/ovms/bin/ovms",
            *("--config_path", str(settings)),
            *("--port", str(request.ports["grpc"])),
            *("--rest_port", str(request.ports["http"])),
            # It would look for new versions in the middle of a measurement.
            *("--file_system_poll_wait_seconds", "0"),
        )
    )


SERVER = ServerSpec(
    name="openvino-model-server",
    title="OpenVINO Model Server",
    folder=Path(__file__).parent,
    distribution="",
    formats=OPENVINO.formats,
    protocols={Protocol.KSERVE_GRPC: "grpc", Protocol.KSERVE_HTTP: "http"},
    command=command,
    image=OFFICIAL["openvino-model-server"].ref,
    read_only=("models",),
    ports=("grpc", "http"),
    options=OPENVINO.options,
    metrics=Metrics(port="http", path="/metrics"),
    start_estimate_s=3.0,
    process=False,
)
