"""``config.json`` of the OpenVINO Model Server ("Model Server Parameters", "Performance tuning", "Metrics")."""

from typing import Any

from nightbench.server import ServeRequest

__all__ = ["config"]


def config(request: ServeRequest) -> dict[str, Any]:
    """The settings that ``servers/openvino`` gives the runtime, with the metrics switched on."""
    streams = request.options["num_streams"]
    hint = {"PERFORMANCE_HINT": str(request.options["performance_hint"]).upper()}
    model = {
        "name": request.model.name,
        "base_path": str(request.workdir / "models" / request.model.name),
        "target_device": "CPU",
        # Predictions that run at the same time; further requests wait, as they do there.
        "nireq": request.options["max_concurrency"],
        "plugin_config": {
            "INFERENCE_NUM_THREADS": str(request.threads),
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,
            **({"NUM_STREAMS": str(streams)} if streams else hint),
        },
    }
    return {"model_config_list": [{"config": model}], "monitoring": {"metrics": {"enable": True}}}
