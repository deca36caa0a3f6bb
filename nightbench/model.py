"""What is measured: a model, its tensors, and the files it was exported to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import prod
from pathlib import Path

__all__ = [
    "Artifact",
    "DType",
    "Draw",
    "Format",
    "InputPool",
    "ModelSpec",
    "Precision",
    "TensorSpec",
    "Tolerance",
]


class Format(StrEnum):
    ONNX = "onnx"
    TORCHSCRIPT = "torchscript"
    HUGGINGFACE = "huggingface"
    """A folder: configuration, safetensors and tokenizer of a language model. The others hold functions of tensors."""


class Precision(StrEnum):
    FP32 = "fp32"


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

    @property
    def item_bytes(self) -> int:
        """Bytes of one batch item."""
        return prod(self.shape) * self.dtype.itemsize_bytes


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an output may stand from PyTorch fp32: ``|got - want| <= max_abs + max_rel * |want|``."""

    max_abs: float
    max_rel: float


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

    @property
    def formats(self) -> tuple[Format, ...]:
        """What it can be exported to."""
        return tuple(each for each in Format if (each is Format.HUGGINGFACE) == self.language)


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
