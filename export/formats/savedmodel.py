"""TensorFlow SavedModel, made from our ONNX by a converter of ours in an environment of its own.

One graph of plain TensorFlow operators with its weights as constants; one signature, ``serving_default``, under the
names of the spec; a batch axis of any size. `export/environments/tensorflow` holds the converter and what runs the
result. onnx2tf 1.28 converts our convolutional models, under other output names, but no BERT, in any batch size;
jax2tf writes one operator that XLA compiles anew for every batch size, not the graph TensorFlow Serving is made for.
"""

import io
import json
import os
import subprocess
import weakref
from collections.abc import Mapping, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from export.draw import Arrays
from export.environments import ENVIRONMENTS
from export.formats import onnx
from export.formats.base import THREADS, Exporter, Runner, Work, versions
from nightbench.errors import ExportError
from nightbench.model import Format, ModelSpec, Precision, TensorSpec

__all__ = ["EXPORTER"]

_NAME = "tensorflow"
_FOLDER = ENVIRONMENTS[_NAME].folder


def _command(tools: Mapping[str, Path], script: str, *arguments: str) -> tuple[str, ...]:
    if _NAME not in tools:
        raise ExportError("SavedModels need the environment 'tensorflow', and nobody said where it is")
    # Nothing of the user's own site, and no bytecode beside our sources.
    return (str(tools[_NAME]), "-E", "-s", "-B", str(_FOLDER / script), *arguments)


def _environment() -> dict[str, str]:
    """No GPU: one may be measured meanwhile."""
    return {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "1"}


def _told(tensors: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    return [{"name": each.name, "dtype": np.dtype(each.dtype.numpy).name, "shape": each.shape} for each in tensors]


def _export(work: Work, path: Path) -> dict[str, str]:
    order = {
        "onnx": str(work.source(Format.ONNX, Precision.FP32)),
        "folder": str(path),
        "inputs": _told(work.spec.inputs),
        "outputs": _told(work.spec.outputs),
    }
    done = subprocess.run(
        _command(work.tools, "convert.py"),
        input=json.dumps(order).encode(),
        stdout=subprocess.PIPE,
        env=_environment(),
        check=False,
    )
    try:
        answer = dict(json.loads(done.stdout))
    except ValueError:
        raise ExportError(f"the converter to SavedModel ended with code {done.returncode}") from None
    if error := answer.pop("error", None):
        raise ExportError(f"{work.spec.name} cannot be made a SavedModel: {error}")
    return {
        **versions(*EXPORTER.tools),
        **{name: str(value) for name, value in answer.items()},
        "environment": ENVIRONMENTS[_NAME].fingerprint,
    }


class _Child:
    """TensorFlow in a process of its own, that ends with this object or with this process."""

    def __init__(self, command: Sequence[str]) -> None:
        its_input, self._to = Pipe(duplex=False)
        self._from, its_output = Pipe(duplex=False)
        with its_input, its_output:
            self._process = subprocess.Popen(
                command, stdin=its_input.fileno(), stdout=its_output.fileno(), env=_environment()
            )
        self._end = weakref.finalize(self, _end, self._process, self._to, self._from)
        try:
            self._answer()
        except BaseException:
            self._end()
            raise

    def __call__(self, inputs: Mapping[str, Any]) -> Arrays:
        packed = io.BytesIO()
        np.savez(packed, **inputs)
        try:
            self._to.send_bytes(b"A" + packed.getvalue())
        except OSError:
            raise RuntimeError(self._ending()) from None
        return self._answer()

    def _answer(self) -> Arrays:
        try:
            message = self._from.recv_bytes()
        except EOFError:
            raise RuntimeError(self._ending()) from None
        if message[:1] == b"E":
            raise RuntimeError(message[1:].decode(errors="replace"))
        with np.load(io.BytesIO(message[1:]), allow_pickle=False) as file:
            return dict(file)

    def _ending(self) -> str:
        return f"the process that ran TensorFlow ended with code {self._process.wait()}"


def _end(process: "subprocess.Popen[bytes]", *pipes: "Connection[Any, Any]") -> None:
    for pipe in pipes:
        pipe.close()
    process.kill()
    process.wait()


def _open(path: Path, spec: ModelSpec, tools: Mapping[str, Path]) -> Runner:
    return _Child(_command(tools, "run.py", str(path), str(THREADS)))


EXPORTER = Exporter(
    suffix="",
    # Both only ever rise, so that their sum is new whenever either is.
    version=3 + onnx.EXPORTER.version,
    tools=onnx.EXPORTER.tools,
    runtime=(),
    reproducible=True,
    export=_export,
    open=_open,
    environments=(_NAME,),
)
