"""Laying out the gateway and the Triton behind it: a repository of both models, and two commands as one."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from nightbench.model import Format, ModelSpec
from nightbench.server import Command, OptionValue, ServeRequest
from servers import triton
from servers.arena import check_model, flags, supervised
from servers.raw_http import serve_command
from servers.triton.layout import serve
from servers.triton.repository import Placed, lay_out, placed, version_of

__all__ = ["command", "models", "triton_options"]


def command(request: ServeRequest) -> Command:
    """`UsageError` for another pipeline; `DeploymentError` (``no_environment``) where Triton cannot run."""
    check_model(request.model)
    asked = replace(
        request,
        options=triton_options(request.options),
        ports={name: request.ports[f"triton_{name}"] for name in ("http", "grpc")}
        | {"metrics": request.ports["metrics"]},
    )
    laid = models(
        request.model,
        asked.options,
        request.threads,
        version_of(request.artifact.sha256),
        {"load_time_path": str(request.load_time_path)},
    )
    repository = request.workdir / "models"
    lay_out(repository, laid, request.artifact, lambda source, target: target.symlink_to(source))
    address = f"{request.host}:{request.ports['triton_grpc']}"
    gateway = serve_command(request, Path(__file__).parent, ("--triton", address, *flags(request)))
    return supervised(request, (serve(asked, repository), gateway))


def triton_options(options: Mapping[str, OptionValue]) -> dict[str, OptionValue]:
    """Triton's own, of those of this server."""
    given = ("dynamic_batching", "max_queue_delay_microseconds")
    return triton.SERVER.resolve({name: options[name] for name in given})


def models(
    model: ModelSpec,
    options: Mapping[str, OptionValue],
    threads: int,
    version: int | None = None,
    parameters: Mapping[str, str] | None = None,
) -> tuple[Placed, ...]:
    """Both stages, each a model of its own under its own name: what lies between them is no step of an ensemble."""
    found = []
    for stage in model.stages:
        alone = replace(model, name=stage.name, inputs=stage.inputs, outputs=stage.outputs, stages=())
        (one,) = placed(alone, Format.ONNX, options, threads=threads, version=version, parameters=parameters)
        found.append(replace(one, part=f"{stage.name}.onnx"))
    return tuple(found)
