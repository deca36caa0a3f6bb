"""Models and servers: what there is to measure, and which servers are up now."""

from typing import Annotated

from fastapi import Depends

from api.guard import guarded, services_of
from api.problems import problems
from api.services import Services
from api.shapes import Model, Page, Running, Server, ServerOption, Tensor
from nightbench.access import Role
from nightbench.model import ModelSpec, TensorSpec
from nightbench.server import Protocol, ServerSpec
from tasks.live import Live, live_deployments

__all__ = ["router"]

router = guarded(Role.VIEWER)
_Services = Annotated[Services, Depends(services_of)]


@router.get("/models", tags=["catalog"], responses=problems())
def models(services: _Services) -> Page[Model]:
    """Every model, what it takes and gives, and what it can be exported to."""
    return Page(items=[_model(spec) for spec in services.catalog.models.values()], next=None)


@router.get("/servers", tags=["catalog"], responses=problems())
def servers(services: _Services) -> Page[Server]:
    """Every inference server and its options, and its deployments that are up now."""
    live = live_deployments(services.live)
    return Page(items=[_server(spec, live) for spec in services.catalog.servers.values()], next=None)


def _model(spec: ModelSpec) -> Model:
    return Model(
        name=spec.name,
        family=spec.family,
        version=spec.version,
        inputs=tuple(map(_tensor, spec.inputs)),
        outputs=tuple(map(_tensor, spec.outputs)),
        formats={each: each.precisions for each in spec.formats},
        language=spec.language,
        licence=spec.licence,
    )


def _tensor(spec: TensorSpec) -> Tensor:
    return Tensor(spec.name, spec.dtype, spec.shape)


def _server(spec: ServerSpec, live: list[Live]) -> Server:
    return Server(
        name=spec.name,
        title=spec.title,
        formats=spec.formats,
        protocols=tuple(each for each in Protocol if each in spec.protocols),
        batching=spec.batching,
        options=tuple(ServerOption(each.name, each.default, each.choices, each.help) for each in spec.options),
        running=tuple(
            Running(each.deployment_id, each.run_id, each.model, each.format, each.precision, tuple(each.endpoints))
            for each in live
            if each.server == spec.name
        ),
    )
