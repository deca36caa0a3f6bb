"""Triton's onnxruntime and pytorch backends, for a Triton that has its Python backend only.

Lying as ``<backend>/model.py`` in the backend directory, this file runs every model whose configuration names that
backend (Triton's "Python-based Backends"), in this folder's own environment. It reads of the configuration what the
native backend would.
"""

import fcntl
import json
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One instance: ONNX Runtime or TorchScript by the backend's name; any other name hands the inputs on."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        settings = {key: value["string_value"] for key, value in config["parameters"].items()}
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = [
            (tensor["name"], pb_utils.triton_string_to_numpy(tensor["data_type"])) for tensor in config["output"]
        ]
        kinds = {
            "onnxruntime": ("onnxruntime", "model.onnx", self.load_onnx),
            "pytorch": ("torch", "model.pt", self.load_torchscript),
        }
        if config["backend"] not in kinds:
            self.model = lambda arrays: arrays
            return
        library, filename, load = kinds[config["backend"]]
        import_module(library)  # before the clock: it times the model alone
        started = time.monotonic_ns()
        self.model = load(str(Path(args["model_repository"], args["model_version"], filename)), config, settings)
        took_ns = time.monotonic_ns() - started
        if "load_time_path" in settings and args["model_instance_name"].endswith("_0_0"):
            add(Path(settings["load_time_path"]), took_ns)

    def load_onnx(self, artifact: str, config: dict, settings: dict[str, str]):
        import onnxruntime

        levels = onnxruntime.GraphOptimizationLevel
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(settings.get("intra_op_thread_count", 0))
        options.inter_op_num_threads = int(settings.get("inter_op_thread_count", 0))
        options.graph_optimization_level = {
            -1: levels.ORT_ENABLE_BASIC,
            1: levels.ORT_ENABLE_EXTENDED,
            2: levels.ORT_DISABLE_ALL,
        }.get(config.get("optimization", {}).get("graph", {}).get("level", 0), levels.ORT_ENABLE_ALL)
        options.log_severity_level = 3  # errors only
        session = onnxruntime.InferenceSession(artifact, options, providers=["CPUExecutionProvider"])
        wanted = [name for name, _ in self.outputs]
        return lambda arrays: session.run(wanted, dict(zip(self.inputs, arrays, strict=True)))

    def load_torchscript(self, artifact: str, config: dict, settings: dict[str, str]):
        import torch

        if "INTRA_OP_THREAD_COUNT" in settings:
            torch.set_num_threads(int(settings["INTRA_OP_THREAD_COUNT"]))
            torch.set_num_interop_threads(int(settings["INTER_OP_THREAD_COUNT"]))
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


def add(path: Path, took_ns: int) -> None:
    """Add to the figure in a file that the stages of an ensemble share, each in a process of its own."""
    with path.open("a+", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        total = int(file.read() or 0) + took_ns
        file.truncate(0)
        file.write(str(total))
