"""Which layer is to blame for an artifact that computes other numbers: bisection over the model's graph.

The model's graph (``torch.export``) is cut behind one of its operators. What is left, the front part of the model, is
exported by the same exporter in the same precision, run, and compared with PyTorch's fp32 at the cut. Halving the
operators in the order of the graph, then looking at what feeds the one that was found, takes about ``log2`` of their
number of exports.

**What is promised.** At the layer that is named, the exported front part strays; at each layer that feeds it, it does
not. Where error only ever grows along the graph that is the first such layer. Where it does not (a branch that is
right beside one that is wrong, a saturated activation that hides what came before it) there may be others, before it
too. A fault that shows only in the whole model, of an optimisation across the cut say, is not found.
"""

import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from export import models
from export.axes import dynamic_batch
from export.draw import Arrays
from export.failure import one_line
from export.formats.base import Work, example, exporter
from nightbench.model import Artifact, DType, Format, ModelSpec, Precision, TensorSpec, Tolerance
from nightbench.parity import USUAL_NRMSE, compare, difference, tolerance_at

if TYPE_CHECKING:
    import torch
    from torch.fx import GraphModule, Node

__all__ = ["BUDGET_S", "diverges_at"]

BUDGET_S = 120.0
"""After this long no further export is begun."""

_CUT = "cut"


def diverges_at(
    spec: ModelSpec,
    artifact: Artifact,
    output: int,
    inputs: Arrays,
    tools: Mapping[str, Path],
    deadline_s: float,
    scratch: Path | None = None,
) -> str | None:
    """The layer behind which output number ``output`` strays for ``inputs``, as ``features.3 (aten.conv2d)``.

    Where time runs out, at ``deadline_s`` of `time.monotonic`, it is between two layers. ``None`` where none could be
    found: the model is no PyTorch module or cannot be followed, or its layers, exported anew, do not stray. Whatever
    goes wrong on the way is told on standard output; nothing is raised. What is exported on the way lies in a folder
    that is made in ``scratch``, for who finds it after this process was killed; where temporary files lie by default.
    """
    if spec.language or spec.stages or (spec.custom is not None and spec.custom.file is not None):
        return None
    try:
        graph = _graph(spec, artifact.weights)
        with TemporaryDirectory(prefix="nightbench-diverge-", dir=scratch) as folder:
            parts = spec.outputs[output].parts
            search = _Search(spec, artifact, graph, inputs, tools, Path(folder), deadline_s, parts)
            return search.blame(_leaf(graph, output))
    except Exception as error:  # noqa: BLE001  a search for reasons must not cost the result that it is to explain
        print(f"no diverging layer of {spec.name} in {artifact.format}: {one_line(error)}")
        return None


def _graph(spec: ModelSpec, weights: str) -> "GraphModule":
    import torch

    module = models.build(spec, weights)
    inputs = example(spec)
    with torch.no_grad():
        program = torch.export.export(module, inputs, dynamic_shapes=dynamic_batch(module, len(inputs)))
    graph: GraphModule = program.module(check_guards=False)
    return graph


def _leaf(graph: "GraphModule", output: int) -> "Node":
    """What the graph returns as that output."""
    returned: Any = graph.graph.output_node().args[0]
    leaf: Node = returned[output] if isinstance(returned, (tuple, list)) else returned
    return leaf


def _upstream(node: "Node") -> "set[Node]":
    """All that ``node`` is computed from, itself included."""
    found, waiting = set(), [node]
    while waiting:
        if (each := waiting.pop()) not in found:
            found.add(each)
            waiting.extend(each.all_input_nodes)
    return found


def _comparable(node: "Node") -> bool:
    """Whether it can be an output: floating values, batch axis first, all other axes known."""
    value = node.meta.get("val")
    shape = tuple(getattr(value, "shape", ()))
    return (
        node.op == "call_function"
        and str(getattr(value, "dtype", "")) == "torch.float32"
        and len(shape) > 1
        and not isinstance(shape[0], int)
        and all(isinstance(size, int) for size in shape[1:])
    )


def _name(node: "Node") -> str:
    """``features.3 (aten.conv2d)``: where in the module, and what is done there."""
    operator = str(node.target).rpartition(".")[0] or str(node.target)
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = stack[-1][0] if stack else ""
    return f"{path} ({operator})" if path else operator


def _front(graph: "GraphModule", node: "Node") -> "GraphModule":
    """The part of ``graph`` that ends in ``node``, with all inputs, sharing its weights."""
    from torch.fx import Graph, GraphModule

    needed = _upstream(node)
    cut = Graph()
    copies: dict[Node, Node] = {}
    for each in graph.graph.nodes:
        if each.op == "placeholder" or each in needed:
            copies[each] = cut.node_copy(each, copies.__getitem__)
    cut.output((copies[node],))
    return GraphModule(graph, cut)


@dataclass(slots=True)
class _Search:
    spec: ModelSpec
    artifact: Artifact
    graph: "GraphModule"
    inputs: Arrays
    tools: Mapping[str, Path]
    folder: Path
    deadline_s: float
    parts: tuple[int, ...]
    """Of the output; they are those of every layer that has an axis of their length."""
    known: "dict[Node, bool | None]" = field(default_factory=dict)

    def blame(self, leaf: "Node") -> str | None:
        upstream = _upstream(leaf)
        layers = [node for node in self.graph.graph.nodes if node in upstream and _comparable(node)]
        while layers and (whole := self._strays(layers[-1])) is not True:
            if whole is False:
                return None
            layers.pop()
        if not layers:
            return None
        clean, stray = self._bisected(layers)
        if self._late:
            return f"between {_name(clean) if clean else 'the inputs'} and {_name(stray)}"
        return _name(self._descended(stray))

    @property
    def _late(self) -> bool:
        return time.monotonic() >= self.deadline_s

    def _bisected(self, layers: "list[Node]") -> "tuple[Node | None, Node]":
        """Neighbours in ``layers``, whose last strays: one that does not, if it is not the first, and one that does.

        Further apart where time ran out. Layers that cannot be looked at are passed over.
        """
        low, high = -1, len(layers) - 1
        while high - low > 1 and not self._late:
            middle = (low + high) // 2
            match self._strays(layers[middle]):
                case True:
                    high = middle
                case False:
                    low = middle
                case None:
                    del layers[middle]
                    high -= 1
        return (layers[low] if low >= 0 else None), layers[high]

    def _descended(self, node: "Node") -> "Node":
        """From a layer that strays to one that strays although all that feed it do not."""
        while not self._late:
            feeding = next((each for each in self._feeding(node) if self._strays(each)), None)
            if feeding is None:
                break
            node = feeding
        return node

    def _feeding(self, node: "Node") -> "list[Node]":
        """The nearest layers upstream that can be looked at."""
        found: list[Node] = []
        waiting, seen = list(node.all_input_nodes), set()
        while waiting:
            each = waiting.pop()
            if each in seen:
                continue
            seen.add(each)
            if _comparable(each) and self._strays(each) is not None:
                found.append(each)
            else:
                waiting.extend(each.all_input_nodes)
        return found

    def _strays(self, node: "Node") -> bool | None:
        """Whether the exported front part that ends in ``node`` strays; ``None`` if it cannot be told."""
        if node not in self.known:
            try:
                self.known[node] = self._looked_at(node)
            except Exception as error:  # noqa: BLE001  not every part of a model can be exported by itself
                print(f"cannot look at {_name(node)}: {one_line(error)}")
                self.known[node] = None
        return self.known[node]

    def _looked_at(self, node: "Node") -> bool | None:
        import torch

        front = _front(self.graph, node)
        with torch.inference_mode():
            want = front(*(torch.from_numpy(self.inputs[tensor.name]) for tensor in self.spec.inputs))[0].numpy()
        if difference(want, want, Tolerance(None)) is not None:
            return None  # a mask of infinities, say
        spec = replace(self.spec, outputs=(TensorSpec(_CUT, DType.FP32, tuple(want.shape[1:])),), classifier=False)
        path = self._exported(spec, front, self.artifact.format, self.artifact.precision)
        got = exporter(self.artifact.format).open(path, spec, self.tools)(self.inputs)
        parts = self.parts if sum(self.parts) in want.shape[1:] else ()
        told = compare(_CUT, len(want), got[_CUT], want, Tolerance(None, max_nrmse=self._bound), parts=parts)
        print(f"{_name(node)}: {told.detail or f'differs by {told.nrmse:.3g} of its RMS'}")
        return not told.passed

    @property
    def _bound(self) -> float:
        precision = self.artifact.precision
        return tolerance_at(self.spec, precision, self.artifact.weights).max_nrmse or USUAL_NRMSE[precision]

    def _exported(self, spec: ModelSpec, front: "GraphModule", kind: Format, precision: Precision) -> Path:
        def source(other: Format, at: Precision) -> Path:
            return self._exported(spec, front, other, at)

        def stages() -> "Mapping[str, torch.nn.Module]":
            raise NotImplementedError("a part of a model has no stages")

        path = self.folder / f"{len(list(self.folder.iterdir()))}-{kind}-{precision}{exporter(kind).suffix}"
        # What is built may be changed in place, and all parts share their weights.
        work = Work(spec, self.artifact.weights, precision, lambda: deepcopy(front), stages, source, self.tools)
        exporter(kind).export(work, path)
        return path
