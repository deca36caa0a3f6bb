"""What the three architectures of Inference Arena have in common: which models they take, and how they are started.

`servers/arena_common` is what they share when they run; the front, the order of steps and all that lies between the two
models are the same files, so that their figures differ by the architecture alone.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from nightbench.errors import UsageError
from nightbench.model import Format, ModelSpec
from nightbench.server import Command, Option, OptionValue, ServeRequest, ServerSpec
from servers.container import inside, is_inside

__all__ = [
    "ARCHITECTURES",
    "JOIN_CROPS",
    "check_model",
    "fits",
    "flags",
    "shared_files",
    "supervised",
    "written_files",
]

_COMMON = Path(__file__).parent / "arena_common"
_STAGES = ("detect", "classify")
ARCHITECTURES = ("arena_microservices", "arena_monolith", "arena_triton")

_SUPERVISOR = "supervise.py"

JOIN_CROPS = Option(
    "join_crops",
    default=False,
    help="Classify the crops of an image as one batch, not one by one.",
)


def fits(model: ModelSpec, file_format: Format, options: Mapping[str, OptionValue]) -> None:
    """As `nightbench.server.ServerSpec.fits`."""
    check_model(model)


def check_model(model: ModelSpec) -> None:
    """`UsageError` for any other pipeline than a detector and a classifier of its crops."""
    names = tuple(stage.name for stage in model.stages)
    if names != _STAGES:
        raise UsageError(
            f"model {model.name} has the stages {', '.join(names) or 'none'}, and this server runs "
            f"{' and '.join(_STAGES)}; choose arena, or another server"
        )


def flags(request: ServeRequest) -> tuple[str, ...]:
    """What a gateway is told of its options."""
    return ("--join-crops",) if request.options[JOIN_CROPS.name] else ()


def supervised(request: ServeRequest, commands: Sequence[Command]) -> Command:
    """Several processes as one, the last of them the one that clients ask."""
    if is_inside(request):  # in an image: what lies in a file is not told it by the launcher
        commands = [inside(each, (_COMMON, *(_COMMON.parent / name for name in ARCHITECTURES))) for each in commands]
    listed = request.workdir / "processes.json"
    listed.write_text(json.dumps([{"argv": each.argv, "env": dict(each.env)} for each in commands]), encoding="utf-8")
    return Command((str(request.python), "-I", "-u", str(_COMMON / _SUPERVISOR), str(listed)))


def shared_files() -> Mapping[str, str]:
    """What is written once for all three architectures: each file's text by its name."""
    return {
        path.name: path.read_text(encoding="utf-8") for path in sorted(_COMMON.glob("*.py")) if path.name != _SUPERVISOR
    }


def written_files(spec: ServerSpec, generated: Mapping[str, str]) -> Mapping[str, str]:
    """What a deployer of one architecture writes for it alone: each file's text by its name.

    What nightbench needs to start it is not among it, nor the list of pins that is computed from ``requirements.in``;
    ``generated`` is what nightbench writes in the deployer's place.
    """
    ours = {"__init__.py", "layout.py"}
    own = [path for path in spec.folder.iterdir() if path.suffix == ".py" and path.name not in ours]
    if len(spec.ports) > 1:  # more than one process
        own.append(_COMMON / _SUPERVISOR)
    own += [spec.folder / "requirements.in", spec.folder / "Dockerfile"]
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(own)} | dict(generated)
