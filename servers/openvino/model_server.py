"""What the container of the OpenVINO Model Server serves and runs. Written, not run: it is in no package registry.

It speaks KServe V2 over gRPC and HTTP and publishes Prometheus metrics at ``/metrics`` of its HTTP port. Paths are the
host's: the working directory is mounted where it is. See "Model Server Parameters", "Performance tuning" and "Metrics"
in its documentation.
"""

import json
import shutil
from typing import Any

from nightbench.server import Command, ServeRequest

__all__ = ["command", "config"]


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


def config(request: ServeRequest) -> dict[str, Any]:
    """``config.json``: the settings that ``serve.py`` gives the runtime, with the metrics switched on."""
    streams = request.options["num_streams"]
    hint = {"PERFORMANCE_HINT": str(request.options["performance_hint"]).upper()}
    model = {
        "name": request.model.name,
        "base_path": str(request.workdir / "models" / request.model.name),
        "target_device": "CPU",
        # Predictions that run at the same time; further requests wait, as they do in serve.py.
        "nireq": request.options["max_concurrency"],
        "plugin_config": {
            "INFERENCE_NUM_THREADS": str(request.threads),
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,
            **({"NUM_STREAMS": str(streams)} if streams else hint),
        },
    }
    return {"model_config_list": [{"config": model}], "monitoring": {"metrics": {"enable": True}}}
