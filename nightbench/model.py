"""What is measured: a model, its tensors, and the files it was exported to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import prod
from pathlib import Path

__all__ = [
    "Artifact",
    "Custom",
    "DType",
    "Draw",
    "Format",
    "InputPool",
    "ModelSpec",
    "Precision",
    "Stage",
    "TensorSpec",
    "Tolerance",
]


class Precision(StrEnum):
    """What the weights and the arithmetic between them are held in. Inputs and outputs keep the types of the spec, so
    that every precision gets and gives the same bytes: casting is part of the artifact."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"
    """Weights and activations, with ranges found beforehand on seeded inputs (static quantisation)."""
    INT8_DYNAMIC = "int8-dynamic"
    """Weights; activations of matrix products, with ranges found anew for every request."""


class Format(StrEnum):
    ONNX = "onnx"
    TORCHSCRIPT = "torchscript"
    TORCH_EXPORT = "torch-export"
    """An archive of ``torch.export``: the model's operators as eager PyTorch runs them, weights beside them."""
    OPENVINO = "openvino"
    """A folder: ``model.xml`` and ``model.bin``, OpenVINO's intermediate representation."""
    SAVEDMODEL = "savedmodel"
    """A folder of TensorFlow's."""
    TENSORRT = "tensorrt"
    """An engine built by TensorRT, for the kind of GPU that it was built on."""
    STAGES = "onnx-stages"
    """A folder of one ONNX file a stage, for models that are several models in a row."""
    HUGGINGFACE = "huggingface"
    """A folder: configuration, safetensors and tokenizer of a language model. The others hold functions of tensors."""

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """What models can be exported to it in."""
        return _PRECISIONS[self]


_PRECISIONS = {
    # ONNX Runtime has hardly an operator in bf16 on CPUs (microsoft/onnxruntime#28768).
    Format.ONNX: (Precision.FP32, Precision.FP16, Precision.INT8, Precision.INT8_DYNAMIC),
    Format.TORCHSCRIPT: (Precision.FP32, Precision.FP16, Precision.BF16),
    Format.TORCH_EXPORT: (Precision.FP32, Precision.FP16, Precision.BF16),
    Format.OPENVINO: (Precision.FP32, Precision.FP16, Precision.INT8),
    Format.SAVEDMODEL: (Precision.FP32,),
    Format.TENSORRT: (Precision.FP32, Precision.FP16),
    Format.STAGES: (Precision.FP32,),
    Format.HUGGINGFACE: (Precision.FP32,),
}


class DType(StrEnum):
    """Element types, by the names of the KServe V2 protocol."""

    FP32 = "FP32"
    FP16 = "FP16"
    INT64 = "INT64"
    INT32 = "INT32"
    UINT8 = "UINT8"

    @property
    def numpy(self) -> str:
        """The little-endian NumPy type string, which is also the order of bytes on the wire."""
        return {"FP32": "<f4", "FP16": "<f2", "INT64": "<i8", "INT32": "<i4", "UINT8": "|u1"}[self.value]

    @property
    def itemsize_bytes(self) -> int:
        return {"FP32": 4, "FP16": 2, "INT64": 8, "INT32": 4, "UINT8": 1}[self.value]


class Draw(StrEnum):
    """How the seeded input pool fills a tensor."""

    NORMAL = "normal"
    INTEGER = "integer"
    ONES = "ones"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One named input or output. ``shape`` leaves the batch axis out."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    draw: Draw = Draw.NORMAL
    high: int = 1
    """Exclusive upper bound of ``Draw.INTEGER``: a vocabulary size, say."""
    parts: tuple[int, ...] = ()
    """Lengths of parts that have a scale of their own each, boxes in pixels and scores from 0 to 1, say. They follow
    each other along the last axis that is as long as all of them."""

    @property
    def item_bytes(self) -> int:
        """Bytes of one batch item."""
        return prod(self.shape) * self.dtype.itemsize_bytes


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an output may stand from PyTorch fp32: ``|got - want| <= max_abs + max_rel * |want|`` in every value,
    and ``RMS(got - want) <= max_nrmse * RMS(want)``, on the left of every item and on the right of all that are
    compared with, as far as they are given. Of an output that has `TensorSpec.parts`, the latter holds for each.

    `docs/parity.md` argues the figures.
    """

    max_abs: float | None
    max_rel: float = 0.0
    """Only beside ``max_abs``."""
    max_nrmse: float | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """One model of several in a row, exported to a file of its own."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class Custom:
    """Where a model that is not of our zoo comes from: one of the two is given."""

    factory: str | None = None
    """``module:function``, called without arguments, returns a `torch.nn.Module` in fp32."""
    file: Path | None = None
    """An exported ONNX or TorchScript file. It is measured as it is, and is its own reference: run by its own runtime
    on the CPU."""
    folder: Path = Path()
    """What ``module`` is imported from."""
    sha256: str = ""
    """Of the file, or of the Python files below ``folder``: others are another model."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model as every room knows it; how it is built is the business of ``export.zoo``."""

    name: str
    family: str
    version: int
    """Raised whenever the graph, the seed or the inputs change: results of other versions never compare."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    tolerance: Tolerance
    seed: int = 0
    """Seeds the random weights and the input pool. Weights do not change speed, so random is the default."""
    classifier: bool = False
    """Whether the first output is a row of class scores, so that top-1 agreement means something."""
    default_weights: str = "random"
    """``random``, or a hub id."""
    language: bool = False
    """Whether it answers a request with text, token by token. Its one input is the request, a JSON object as bytes;
    its one output the text as UTF-8."""
    tolerances: Mapping[Precision, Tolerance] = field(default_factory=dict)
    """Below fp32 and with random weights, where they make more of rounding than `nightbench.parity` allows for."""
    licence: str = ""
    """Of the code the graph follows and of ``default_weights`` or the hub id that the module names, by SPDX."""
    hub_weights: str = ""
    """The hub id of weights that fit."""
    stages: tuple[Stage, ...] = ()
    """Not empty for several models in a row, exported apart."""
    custom: Custom | None = None
    """Given, it is a user's own and not of the zoo."""

    @property
    def formats(self) -> tuple[Format, ...]:
        """What it can be exported to, the usual one first."""
        if self.language:
            return (Format.HUGGINGFACE,)
        if self.stages:
            return (Format.STAGES,)
        if self.custom is not None and self.custom.file is not None:
            return _FROM_FILE[self.custom.file.suffix]
        return tuple(each for each in Format if each not in {Format.HUGGINGFACE, Format.STAGES})


_FROM_FILE = {
    ".onnx": (Format.ONNX, Format.OPENVINO, Format.SAVEDMODEL, Format.TENSORRT),
    ".pt": (Format.TORCHSCRIPT,),
}


@dataclass(frozen=True, slots=True)
class Artifact:
    """One exported model: a file, or a folder of files, named by the hash of what is in it."""

    model: str
    format: Format
    precision: Precision
    weights: str
    path: Path
    sha256: str
    size_bytes: int
    exporter: Mapping[str, str] = field(default_factory=dict)
    """Versions and settings of what made it: torch, onnx, opset, seed, ..."""
    export_ns: int = 0
    """How long the export took when it was made; a cache hit keeps the original figure."""
    reproducible: bool = True
    """Whether the exporter gives the same bytes for the same model."""
    peak_rss_bytes: int = 0
    """The most memory the exporting process held while it was made, its libraries among it."""
    inputs: tuple[TensorSpec, ...] = ()
    """By the file's own word, an extent that it leaves open being -1; empty for formats in which it has none."""
    outputs: tuple[TensorSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class InputPool:
    """Distinct seeded inputs and PyTorch's fp32 answers to them, so that no cache can answer for a server.

    ``path`` is an ``.npz`` without pickles: arrays ``in.<name>`` and ``out.<name>``, ``count`` items along
    their first axis.
    """

    model: str
    weights: str
    count: int
    path: Path
    sha256: str
