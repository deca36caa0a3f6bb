"""Laying out one MLServer instance: a folder with its settings, the model's and ``model.py``."""

import json
import shutil
from pathlib import Path

from nightbench.server import Command, ServeRequest
from servers.mlserver.config import model_settings, settings
from servers.raw_http import thread_env

__all__ = ["command"]


def command(request: ServeRequest) -> Command:
    """Serve one model."""
    folder = request.workdir / "models"
    model = folder / request.model.name
    model.mkdir(parents=True)
    shutil.copyfile(Path(__file__).with_name("model.py"), model / "model.py")
    (folder / "settings.json").write_text(json.dumps(settings(request)), encoding="utf-8")
    (model / "model-settings.json").write_text(json.dumps(model_settings(request)), encoding="utf-8")
    script = request.python.with_name("mlserver")
    return Command(
        argv=(str(request.python), "-I", "-u", str(script), "start", str(folder)),
        # ONNX Runtime reports to its makers by default since 1.29.
        env={**thread_env(request.threads), "ORT_DISABLE_TELEMETRY": "1"},
    )
