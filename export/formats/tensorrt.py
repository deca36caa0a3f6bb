"""A TensorRT engine, built from our ONNX file for the GPU at hand, for batches of 1 to `MAX_BATCH`.

Written against TensorRT 10 and not run: it takes an NVIDIA GPU and the ``tensorrt`` package, and is one sentence
without them. The network is strongly typed, so that the types of the ONNX file, fp32 or fp16, are what is computed in,
and TensorFloat-32 is off: it is no fp32. The builder times its kernels and takes the fastest, so that no two engines
need have the same bytes, and an engine loads on its own kind of GPU and release of TensorRT only.
"""

from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np

from export.draw import Arrays
from export.formats import onnx
from export.formats.base import Exporter, Runner, Work, versions
from nightbench.errors import ExportError
from nightbench.model import Format, ModelSpec

__all__ = ["EXPORTER", "MAX_BATCH"]

MAX_BATCH = 32
"""Triton's usual ``max_batch_size``."""


def _export(work: Work, path: Path) -> dict[str, str]:
    tensorrt, gpu = _at_hand()
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(work.source(Format.ONNX, work.precision))):
        said = parser.get_error(0).desc() if parser.num_errors else "it does not say why"
        raise ExportError(f"TensorRT cannot read model {work.spec.name} from ONNX: {said}")
    profile = builder.create_optimization_profile()
    for tensor in work.spec.inputs:
        least, most = (1, *tensor.shape), (MAX_BATCH, *tensor.shape)
        profile.set_shape(tensor.name, least, most, most)
    config = builder.create_builder_config()
    config.add_optimization_profile(profile)
    config.clear_flag(tensorrt.BuilderFlag.TF32)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ExportError(f"TensorRT cannot build model {work.spec.name}; the export's log says why")
    path.write_bytes(memoryview(engine))
    return {**versions(*EXPORTER.tools), "exporter": "tensorrt", "gpu": gpu, "max_batch": str(MAX_BATCH)}


def _open(path: Path, spec: ModelSpec, tools: Mapping[str, Path]) -> Runner:
    tensorrt, gpu = _at_hand()
    import torch

    engine = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR)).deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise ExportError(f"TensorRT engine {path} does not load on {gpu}; remove it, and it is built anew")
    context = engine.create_execution_context()

    def run(inputs: Mapping[str, Any]) -> Arrays:
        sent = {name: torch.from_numpy(array).to("cuda").contiguous() for name, array in inputs.items()}
        for name, tensor in sent.items():
            if not context.set_input_shape(name, tuple(tensor.shape)):
                raise ExportError(f"TensorRT engine {path} does not take {name!r} of shape {tuple(tensor.shape)}")
        got = {
            tensor.name: torch.empty(
                tuple(context.get_tensor_shape(tensor.name)),
                dtype=getattr(torch, np.dtype(tensor.dtype.numpy).name),
                device="cuda",
            )
            for tensor in spec.outputs
        }
        for name, tensor in (sent | got).items():
            context.set_tensor_address(name, tensor.data_ptr())
        stream = torch.cuda.current_stream()
        if not context.execute_async_v3(stream.cuda_stream):
            raise ExportError(f"TensorRT engine {path} failed; the log says why")
        stream.synchronize()
        return {name: tensor.cpu().numpy() for name, tensor in got.items()}

    return run


def _at_hand() -> tuple[Any, str]:
    """TensorRT, and the name of the GPU it works for; `ExportError` where either is not there."""
    import torch

    if not torch.cuda.is_available():
        raise ExportError("a TensorRT engine is built and run on an NVIDIA GPU, and there is none here; use onnx")
    try:
        import tensorrt
    except ImportError:
        raise ExportError("package 'tensorrt' is not installed; install it for this GPU, or use onnx") from None
    return tensorrt, torch.cuda.get_device_name()


EXPORTER = Exporter(
    needs=("gpu",),
    suffix=".plan",
    version=1 + onnx.EXPORTER.version,  # either rises, and the sum is new
    # Where it is not installed there is nothing to name, and `_at_hand` says so better.
    tools=(*onnx.EXPORTER.tools, *(("tensorrt",) if any(distributions(name="tensorrt")) else ())),
    runtime=("tensorrt",),
    reproducible=False,
    export=_export,
    open=_open,
)
