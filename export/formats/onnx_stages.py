"""A folder of one ONNX file a stage, and ``stages.json``: their names in order, what each takes and gives, and whether
they are linear, that is, whether each takes by name what the model does or what stages before it give.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export import zoo
from export.draw import Arrays
from export.formats import onnx
from export.formats.base import Exporter, Runner, Work, versions
from export.onnx_file import open_file
from export.onnx_graph import write
from nightbench.errors import ExportError
from nightbench.model import ModelSpec, Stage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["EXPORTER", "STAGES"]

STAGES = "stages.json"


def _export(work: Work, path: Path) -> dict[str, str]:
    spec = work.spec
    linear = zoo.run_stages(spec) is None
    if linear:
        _check_linear(spec)
    modules = work.stages()
    path.mkdir()
    facts: dict[str, str] = {}
    for stage in spec.stages:
        alone = replace(spec, name=f"{spec.name}/{stage.name}", inputs=stage.inputs, outputs=stage.outputs, stages=())
        told = write(modules[stage.name], alone, path / f"{stage.name}.onnx")
        facts |= {f"{stage.name}.{name}": value for name, value in told.items()}
    described = {"linear": linear, "stages": [_described(stage) for stage in spec.stages]}
    (path / STAGES).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    return {**versions(*EXPORTER.tools), **facts}


def _described(stage: Stage) -> dict[str, Any]:
    return {"file": f"{stage.name}.onnx", **asdict(stage)}


def _check_linear(spec: ModelSpec) -> None:
    """`ExportError` where a stage, or the model's answer, needs a tensor that nothing before it gives."""
    known = {tensor.name for tensor in spec.inputs}
    for stage in spec.stages:
        _check_known(spec, f"stage {stage.name}", [tensor.name for tensor in stage.inputs], known)
        known |= {tensor.name for tensor in stage.outputs}
    _check_known(spec, "its answer", [tensor.name for tensor in spec.outputs], known)


def _check_known(spec: ModelSpec, who: str, needed: list[str], known: set[str]) -> None:
    missing = [name for name in needed if name not in known]
    if missing:
        raise ExportError(
            f"model {spec.name}: {who} needs tensor {missing[0]!r}, which no stage before gives; "
            "correct the names, or give its module in export/zoo a run_stages"
        )


def _open(path: Path, spec: ModelSpec, tools: Mapping[str, Path]) -> Runner:
    try:
        written = [stage["name"] for stage in json.loads((path / STAGES).read_text(encoding="utf-8"))["stages"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise ExportError(f"folder {path} has no {STAGES} that can be read; export it again") from None
    if written != [stage.name for stage in spec.stages]:
        raise ExportError(f"folder {path} holds the stages {written}, not those of {spec.name}; export it again")
    runners = {
        stage.name: open_file(path / f"{stage.name}.onnx", [tensor.name for tensor in stage.outputs])
        for stage in spec.stages
    }
    own = zoo.run_stages(spec)
    if own is None:
        return lambda inputs: _in_a_row(spec, runners, inputs)
    return lambda inputs: own(runners, inputs)


def _in_a_row(spec: ModelSpec, runners: Mapping[str, Runner], inputs: "Mapping[str, NDArray[np.generic]]") -> Arrays:
    known = dict(inputs)
    for stage in spec.stages:
        known |= runners[stage.name]({tensor.name: known[tensor.name] for tensor in stage.inputs})
    return {tensor.name: known[tensor.name] for tensor in spec.outputs}


EXPORTER = Exporter(
    suffix="",
    version=1 + onnx.EXPORTER.version,  # either rises, and the sum is new
    tools=onnx.EXPORTER.tools,
    runtime=onnx.EXPORTER.runtime,
    reproducible=True,
    export=_export,
    open=_open,
)
