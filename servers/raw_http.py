"""How the baselines are started: one command line, one signature file, equal thread settings.

Their protocol, `Protocol.RAW_HTTP`: ``POST /v1/predict`` with ``Content-Type: application/octet-stream`` and
``X-Batch: <n>``. The body is every input's little-endian C-order bytes, batch axis first, one input after the
other in `ModelSpec` order; the answer is every output likewise. A request that does not fit is a 400 with one
sentence, and the connection stays good. ``GET /healthz`` is 200 once the model is loaded.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nightbench.model import ModelSpec, TensorSpec
from nightbench.server import Command, ServeRequest

__all__ = ["serve_command", "signature", "thread_env"]


def serve_command(request: ServeRequest, folder: Path, flags: Sequence[str] = ()) -> Command:
    """Start ``folder``'s ``serve.py`` in its environment, told all a baseline needs, and ``flags``."""
    described = request.workdir / "signature.json"
    described.write_text(json.dumps(signature(request.model)), encoding="utf-8")
    return Command(
        argv=(
            # Isolated: a folder named after its framework must not shadow the framework.
            *(str(request.python), "-I", "-u", str(folder / "serve.py")),
            *("--artifact", str(request.artifact.path)),
            *("--signature", str(described)),
            *("--host", request.host),
            *("--port", str(request.ports["http"])),
            *("--threads", str(request.threads)),
            *("--load-time", str(request.load_time_path)),
            *flags,
        ),
        env=thread_env(request.threads),
    )


def signature(model: ModelSpec) -> dict[str, Any]:
    """What a ``serve.py`` must know of a model: names, NumPy types and shapes without the batch axis."""
    return {
        "inputs": [_described(tensor) for tensor in model.inputs],
        "outputs": [_described(tensor) for tensor in model.outputs],
    }


def thread_env(threads: int) -> dict[str, str]:
    """The intra-op threads of every numeric runtime, in force before any of them is imported."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return dict.fromkeys(names, str(threads))


def _described(tensor: TensorSpec) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": tensor.dtype.numpy, "shape": list(tensor.shape)}
