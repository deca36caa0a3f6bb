"""A model inside Triton's Python backend. Triton loads this file in this folder's own environment."""

import json
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One instance: ONNX Runtime or TorchScript, by the artifact's suffix; without one, what hands its inputs on."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        settings = {key: value["string_value"] for key, value in config["parameters"].items()}
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = [
            (tensor["name"], pb_utils.triton_string_to_numpy(tensor["data_type"])) for tensor in config["output"]
        ]
        if "artifact" not in settings:
            self.model = lambda arrays: arrays  # an ensemble's first step
            return
        artifact, threads = Path(settings["artifact"]), int(settings["threads"])
        onnx = artifact.suffix == ".onnx"
        import_module("onnxruntime" if onnx else "torch")  # before the clock: it times the model alone
        started = time.monotonic_ns()
        self.model = (self.load_onnx if onnx else self.load_torchscript)(str(artifact), threads)
        took_ns = time.monotonic_ns() - started
        Path(settings["load_time_path"]).write_text(str(took_ns), encoding="ascii")

    def load_onnx(self, artifact: str, threads: int):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only
        session = onnxruntime.InferenceSession(artifact, options, providers=["CPUExecutionProvider"])
        wanted = [name for name, _ in self.outputs]
        return lambda arrays: session.run(wanted, dict(zip(self.inputs, arrays, strict=True)))

    def load_torchscript(self, artifact: str, threads: int):
        import torch

        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        model = torch.jit.load(artifact, map_location="cpu").eval()

        def predict(arrays: list[np.ndarray]) -> list[np.ndarray]:
            with torch.inference_mode():
                answer = model(*map(torch.from_numpy, arrays))
            return [tensor.numpy() for tensor in (answer if isinstance(answer, (tuple, list)) else (answer,))]

        return predict

    def execute(self, requests: list) -> list:
        """Run what Triton's scheduler joined as one batch, and give each request its rows back."""
        rows = [
            [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs]
            for request in requests
        ]
        try:
            # One request needs no joining, and so no copy.
            joined = rows[0] if len(rows) == 1 else [np.concatenate(arrays) for arrays in zip(*rows, strict=True)]
            answers = self.model(joined)
        except Exception as error:  # noqa: BLE001 - a request must be answered, whatever the model raised
            failure = pb_utils.TritonError(f"{type(error).__name__}: {error}")
            return [pb_utils.InferenceResponse(error=failure) for _ in requests]
        responses, start = [], 0
        for arrays in rows:
            end = start + len(arrays[0])
            responses.append(
                pb_utils.InferenceResponse(
                    [
                        pb_utils.Tensor(name, np.ascontiguousarray(answer[start:end], dtype))
                        for (name, dtype), answer in zip(self.outputs, answers, strict=True)
                    ]
                )
            )
            start = end
        return responses
