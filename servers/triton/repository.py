"""A model repository: for every model a ``config.pbtxt``, a version's folder with its file, and what warms it up.

    <model>/config.pbtxt
    <model>/<version>/model.onnx
    <model>/warmup/input_0

The version is the artifact's hash, so that whatever Triton says it serves can be traced to the bytes.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from nightbench.errors import UsageError
from nightbench.model import Artifact, Format, ModelSpec
from nightbench.server import OptionValue
from nightbench.signature import disagreement
from servers.triton.config import config_pbtxt
from servers.triton.ensemble import ensemble_pbtxt
from servers.triton.native import BACKENDS, NATIVE, native_config_pbtxt
from servers.triton.warmup import item

__all__ = ["HAND_ON", "Placed", "check_signature", "lay_out", "placed", "serves", "version_of"]

HAND_ON = "hand-on"
"""The backend, of our own, that hands its inputs on as they are."""


@dataclass(frozen=True, slots=True)
class Placed:
    """One model of a repository."""

    name: str
    config: str
    filename: str = ""
    """What its backend looks for in a version's folder; empty where it needs nothing, as an ensemble does."""
    part: str = ""
    """Which file of the artifact that is; empty for the artifact itself."""
    warmup: Mapping[str, bytes] = field(default_factory=dict)


def version_of(sha256: str) -> int:
    """The first 15 hexadecimal digits as a number: 60 bits.

    Triton reads versions as signed 64-bit integers, counts from 1, and aborts at what is larger (seen with 2.51).
    """
    return int(sha256[:15], 16) or 1


def check_signature(model: ModelSpec, artifact: Artifact) -> None:
    """`UsageError` where the artifact's own tensors, as far as its export read them, are not those of the spec."""
    if artifact.outputs and (sentence := disagreement(model, artifact.inputs, artifact.outputs)):
        raise UsageError(sentence)


def placed(
    model: ModelSpec,
    file_format: Format,
    options: Mapping[str, OptionValue],
    *,
    threads: int | None = None,
    version: int | None = None,
    parameters: Mapping[str, str] | None = None,
    gpu: bool = False,
) -> tuple[Placed, ...]:
    """The models that serve ``model`` from an artifact of ``file_format``; the first bears its name.

    Of a model of several stages each is a model of its own, named after both, with all the options; so is the one
    before which the option ``ensemble`` puts a step. ``threads`` of ``None`` and an absent option leave Triton's own
    default; a ``version`` of ``None`` serves all that lie there. `UsageError` as `config_pbtxt` and `ensemble_pbtxt`.
    """
    max_batch, backend = int(options["max_batch_size"]), BACKENDS[file_format]

    def single(spec: ModelSpec, part: str = "") -> Placed:
        text = native_config_pbtxt(
            spec, options, max_batch, threads, backend, gpu=gpu, version=version, parameters=parameters
        )
        return Placed(spec.name, text, NATIVE[backend].filename, part, _warmup(spec, options))

    if file_format is Format.STAGES:
        if options.get("ensemble", False):
            raise UsageError(f"model {model.name} is an ensemble already; leave the option ensemble off")
        steps = _steps(model)
        whole = Placed(model.name, ensemble_pbtxt(model, steps, max_batch, version))
        parts = (f"{stage.name}.onnx" for stage in model.stages)
        return (whole, *(single(step, part) for step, part in zip(steps, parts, strict=True)))
    if not options.get("ensemble", False):
        return (single(model),)
    first = replace(model, name=f"{model.name}_preprocess", outputs=model.inputs)
    second = replace(model, name=f"{model.name}_model")
    hop = {name: options[name] for name in ("instance_count", "max_queue_size", "rate_limit") if name in options}
    return (
        Placed(model.name, ensemble_pbtxt(model, (first, second), max_batch, version)),
        Placed(first.name, config_pbtxt(first, hop, max_batch, backend=HAND_ON, version=version)),
        single(second),
    )


def lay_out(
    root: Path, models: Iterable[Placed], artifact: Artifact, put: Callable[[Path, Path], object] | None = None
) -> tuple[Path, ...]:
    """Write ``models`` below ``root``, each with its file of ``artifact``; their folders.

    ``put(source, target)`` places a file; by default as a copy. A version that lies there already stays as it is.
    """
    folders: list[Path] = []
    for model in models:
        folder = root / model.name
        version = folder / str(version_of(artifact.sha256))
        version.mkdir(parents=True, exist_ok=True)
        (folder / "config.pbtxt").write_text(model.config, encoding="utf-8")
        if model.filename and not (target := version / model.filename).exists():
            partial = target.with_name(f"{model.filename}.partial")  # a copy that was cut short is not taken for whole
            partial.unlink(missing_ok=True)
            (put or shutil.copyfile)(artifact.path / model.part, partial)
            partial.replace(target)
        for name, data in model.warmup.items():
            (folder / "warmup").mkdir(exist_ok=True)
            (folder / "warmup" / name).write_bytes(data)
        folders.append(folder)
    return tuple(folders)


def serves(model: ModelSpec, file_format: Format) -> bool:
    """Whether Triton alone answers for the model; not where more than tensors handed on lies between its stages."""
    if file_format is not Format.STAGES:
        return file_format in BACKENDS
    try:
        ensemble_pbtxt(model, _steps(model), 1)
    except UsageError:
        return False
    return True


def _steps(model: ModelSpec) -> list[ModelSpec]:
    return [
        replace(model, name=f"{model.name}_{stage.name}", inputs=stage.inputs, outputs=stage.outputs, stages=())
        for stage in model.stages
    ]


def _warmup(model: ModelSpec, options: Mapping[str, OptionValue]) -> Mapping[str, bytes]:
    return item(model) if int(options.get("model_warmup", 0)) else {}
