"""A model inside MLServer. MLServer loads this file in this folder's own environment."""

import time
from importlib import import_module
from pathlib import Path

import mlserver
import numpy as np
from mlserver.codecs import NumpyCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse
from prometheus_client import Summary

MAX_BATCH = 4096


class Model(mlserver.MLModel):
    """ONNX Runtime or TorchScript, by the artifact's suffix. Calls run one after the other in each process."""

    async def load(self) -> bool:
        parameters = self.settings.parameters
        artifact, threads = Path(parameters.uri), parameters.extra["threads"]
        onnx = artifact.suffix == ".onnx"
        import_module("onnxruntime" if onnx else "torch")  # before the clock: it times the model alone
        started = time.monotonic_ns()
        self.run = (self.load_onnx if onnx else self.load_torchscript)(str(artifact), threads)
        took_ns = time.monotonic_ns() - started
        Path(parameters.extra["load_time_path"]).write_text(str(took_ns), encoding="ascii")
        # Not mlserver.register: without parallel workers, what that registers is never published.
        self.batch_items = Summary("batch_items", "Items of one prediction", ["model"]).labels(self.name)
        return True

    def load_onnx(self, artifact: str, threads: int):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only
        session = onnxruntime.InferenceSession(artifact, options, providers=["CPUExecutionProvider"])
        names = [tensor.name for tensor in self.inputs]
        wanted = [tensor.name for tensor in self.outputs]
        return lambda arrays: session.run(wanted, dict(zip(names, arrays, strict=True)))

    def load_torchscript(self, artifact: str, threads: int):
        import torch

        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        module = torch.jit.load(artifact, map_location="cpu").eval()

        def run(arrays: list[np.ndarray]) -> list[np.ndarray]:
            with torch.inference_mode():
                answer = module(*map(torch.from_numpy, arrays))
            return [tensor.numpy() for tensor in (answer if isinstance(answer, (tuple, list)) else (answer,))]

        return run

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        arrays = self.arrays(payload)
        self.batch_items.observe(len(arrays[0]))
        answers = zip(self.outputs, self.run(arrays), strict=True)
        return InferenceResponse(
            model_name=self.name,
            outputs=[NumpyCodec.encode_output(tensor.name, array) for tensor, array in answers],
        )

    def arrays(self, payload: InferenceRequest) -> list[np.ndarray]:
        """The inputs in the model's order. `InferenceError`, which is a 400, for what does not fit."""
        given = {tensor.name: tensor for tensor in payload.inputs}
        arrays, batch = [], None
        for expected in self.inputs:
            name, tensor = expected.name, given.get(expected.name)
            if tensor is None or tensor.datatype != expected.datatype:
                raise InferenceError(f"input {name!r} is missing or no {expected.datatype}")
            batch = batch or next(iter(tensor.shape), 0)
            item = list(expected.shape[1:])
            if list(tensor.shape) != [batch, *item] or not 1 <= batch <= MAX_BATCH:
                raise InferenceError(
                    f"input {name!r} has shape {tensor.shape}; "
                    f"send 1 to {MAX_BATCH} items of shape {item}, as many of every input"
                )
            arrays.append(NumpyCodec.decode_input(tensor))
        return arrays
