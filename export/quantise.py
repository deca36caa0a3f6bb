"""ONNX in fp32 to ONNX in int8, by ONNX Runtime's own tools.

Static: weights in int8 with a scale for each output channel, activations in uint8, marked by pairs of QuantizeLinear
and DequantizeLinear, which runtimes fuse into integer operators as far as they have them. The range of an activation
is from its least to its largest value over seeded inputs, none of which is measured (Krishnamoorthi 2018,
arXiv:1806.08342, sections 2 and 3). Unsigned by signed is what x86 multiplies; a CPU with AVX2 or AVX-512 and without
VNNI adds pairs of such products in 16 bits and may saturate, which parity then tells.

Dynamic: weights of matrix products in int8, and ranges of activations found anew for every request. Convolutions stay
in fp32: ONNX Runtime's integer one was several times slower (1.31, MobileNetV2 0.35 at 96 pixels: 7.8 times).
"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from export.draw import Arrays
from export.onnx_file import graphs, keep_quiet
from export.onnx_graph import facts_of, finish
from nightbench.errors import ExportError

if TYPE_CHECKING:
    import onnx

__all__ = ["quantise_dynamic", "quantise_static"]

_PRODUCTS = {"Conv", "ConvTranspose", "MatMul", "Gemm"}
_INTEGER = {"MatMulInteger", "ConvInteger"}


def quantise_static(source: Path, examples: Arrays, target: Path) -> dict[str, str]:
    """Write the model at ``source`` with integer weights and activations, whose ranges ``examples`` give, one a time.

    Returns what is worth knowing about it. Raises `ExportError` for a model in which nothing can be quantised.
    """
    keep_quiet()
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            count = len(next(iter(examples.values())))
            self.items = ({name: array[[item]] for name, array in examples.items()} for item in range(count))

        def get_next(self) -> Arrays | None:
            return next(self.items, None)

    with TemporaryDirectory(prefix="nightbench-quantise-") as folder:
        prepared, written = _prepared(source, Path(folder)), Path(folder) / "written.onnx"
        quantize_static(
            prepared,
            written,
            Reader(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=_behind_products(prepared),
        )
        return _finished(written, prepared, target)


def quantise_dynamic(source: Path, target: Path) -> dict[str, str]:
    """Write the model at ``source`` with the weights of its matrix products and embeddings as integers.

    Returns and raises as `quantise_static` does.
    """
    keep_quiet()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with TemporaryDirectory(prefix="nightbench-quantise-") as folder:
        prepared, written = _prepared(source, Path(folder)), Path(folder) / "written.onnx"
        quantize_dynamic(
            prepared,
            written,
            op_types_to_quantize=["MatMul", "Gemm", "Gather"],
            weight_type=QuantType.QInt8,
            per_channel=True,
        )
        return _finished(written, prepared, target)


def _prepared(source: Path, folder: Path) -> Path:
    """The model with constants folded and shapes inferred, which the tools below rely on."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = folder / "prepared.onnx"
    # Symbolic inference gives up on models that ONNX's own can do.
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    return prepared


def _behind_products(path: Path) -> list[str]:
    """The nodes no convolution or matrix product follows: integers would save nothing there, and where a detector
    joins boxes in pixels with probabilities, the step of the one leaves nothing of the other."""
    import onnx

    graph = onnx.load(path).graph
    feeding: set[str] = set()
    behind: list[str] = []
    for node in reversed(graph.node):
        if node.op_type in _PRODUCTS or feeding & set(node.output):
            feeding |= set(node.input)
        elif node.name:  # without one it cannot be told from others that have none
            behind.append(node.name)
    return behind


def _finished(written: Path, prepared: Path, target: Path) -> dict[str, str]:
    import onnx

    model, before = onnx.load(written), onnx.load(prepared)
    products = sum(node.op_type in _PRODUCTS for graph in graphs(before) for node in graph.node)
    quantised = _quantised(model)
    if not quantised:
        raise ExportError(
            f"nothing in this model can be quantised: none of its {products} convolutions and matrix products "
            "has weights that are constant; measure it in fp32 or fp16"
        )
    finish(model, target)
    return {"quantised": f"{quantised} of {products} convolutions and matrix products", **facts_of(model)}


def _quantised(model: "onnx.ModelProto") -> int:
    """How many convolutions and matrix products compute with integers, or will once a runtime has fused them."""
    count = 0
    for graph in graphs(model):
        makers: Mapping[str, str] = {name: node.op_type for node in graph.node for name in node.output}
        for node in graph.node:
            fused = node.op_type in _PRODUCTS and makers.get(node.input[0]) == "DequantizeLinear"
            count += fused or node.op_type in _INTEGER
    return count
