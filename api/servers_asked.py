"""Which running servers are meant, and what they are sent: found out and checked before any is asked."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api.asked import InferenceAsked, ServerAsked
from export import zoo
from loadgen.protocols.base import Tensors
from loadgen.target import Target
from nightbench.access import Forbidden, NotFound
from nightbench.errors import ExportError, UsageError
from nightbench.model import ModelSpec, TensorSpec
from nightbench.server import Endpoint, Protocol
from tasks.live import Live

__all__ = ["Ports", "endpoints_of", "inputs_of"]

_NOT_OVER_A_WIRE = {Protocol.IN_PROCESS, Protocol.OPAQUE_HTTP}
_OWN_PATH = {each for each in Protocol if each.startswith(("kserve-http", "kserve-grpc")) or each.endswith("-grpc")}
"""Protocols whose path is fixed."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Which of this machine's ports may be asked by a url."""

    own: Collection[int]
    """Of our own services: nobody's."""
    open: Collection[int] | None
    """Beside those of deployments that are up; ``None`` is every other."""


def endpoints_of(asked: InferenceAsked, model: ModelSpec, live: Sequence[Live], ports: Ports) -> dict[str, Endpoint]:
    """Each server's endpoint by what its answer is called.

    Raises:
        NotFound: a deployment is not up.
        Forbidden: what listens at a url need not be an inference server, and the caller is no admin.
        UsageError: what is given does not name a server that may be asked.
    """
    found: dict[str, Endpoint] = {}
    for number, server in enumerate(asked.servers):
        where = f"servers.{number}"
        name, endpoint = (
            _deployed(server, model, live, where)
            if server.url is None
            else _external(server, model, live, ports, where)
        )
        if name in found:
            raise UsageError(f"{where}.name: two answers would be called {name!r}; give each a name of its own")
        found[name] = endpoint
    return found


def _deployed(server: ServerAsked, model: ModelSpec, live: Sequence[Live], where: str) -> tuple[str, Endpoint]:
    if server.deployment is None:
        raise UsageError(f"{where}: give a deployment, or a url and its protocol")
    if server.model:
        raise UsageError(f"{where}.model: a deployment knows its model; leave it out")
    up = next((each for each in live if each.deployment_id == server.deployment), None)
    if up is None:
        raise NotFound(f"{where}.deployment: {server.deployment!r} is not up; GET /api/v1/servers lists those that are")
    if up.model != model.name:
        raise UsageError(f"{where}.deployment: {up.deployment_id} serves {up.model}, not {model.name}; choose another")
    if not up.endpoints:
        raise UsageError(f"{where}.deployment: the load engine hosts {up.deployment_id} itself; nobody else can ask it")
    protocol = server.protocol or next(iter(up.endpoints))
    if protocol not in up.endpoints:
        spoken = ", ".join(up.endpoints)
        raise UsageError(f"{where}.protocol: {up.deployment_id} does not speak {protocol}; use one of: {spoken}")
    return server.name or up.server, up.endpoints[protocol]


def _external(
    server: ServerAsked, model: ModelSpec, live: Sequence[Live], ports: Ports, where: str
) -> tuple[str, Endpoint]:
    if server.deployment is not None:
        raise UsageError(f"{where}: a deployment and a url are two servers; give one")
    if server.protocol is None or server.protocol in _NOT_OVER_A_WIRE:
        raise UsageError(f"{where}.protocol: say which protocol the server speaks, such as {Protocol.KSERVE_HTTP}")
    try:
        target = Target.parse(server.url or "")
    except UsageError as error:
        raise UsageError(f"{where}.url: {error}") from error
    # Names are resolved by others, now to this machine and then to that: only addresses are taken.
    host = "127.0.0.1" if target.host == "localhost" else target.host
    if not _is_loopback(host):
        raise UsageError(f"{where}.url: {target.host} is not this machine's loopback, and nothing else is asked")
    if target.port in ports.own:
        raise UsageError(f"{where}.url: port {target.port} is nightbench's own; give an inference server's")
    if ports.open is not None and target.port not in ports.open and not _is_up(host, target.port, live):
        # Anything may listen there that trusts its own machine, and would be sent what the caller likes.
        raise Forbidden(
            f"{where}.url: port {target.port} takes an admin's key: it is neither that of a deployment that is up, "
            "nor within NIGHTBENCH_API_INFERENCE_PORTS"
        )
    if target.path and server.protocol in _OWN_PATH:
        raise UsageError(f"{where}.url: {server.protocol} has a path of its own; leave {target.path!r} out")
    name = server.name or f"{host}:{target.port}"
    return name, Endpoint(server.protocol, host, target.port, server.model or model.name, path=target.path)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_up(host: str, port: int, live: Sequence[Live]) -> bool:
    return any((host, port) == (each.host, each.port) for up in live for each in up.endpoints.values())


def inputs_of(asked: InferenceAsked, model: ModelSpec) -> Tensors:
    """What each server is sent, batch axis first; `UsageError` for what is not the model's."""
    if asked.prompt is not None:
        return {model.inputs[0].name: _prompt(asked, model)}
    if model.language and asked.inputs is not None:
        raise UsageError(f"inputs: {model.name} is asked with a prompt; give that instead")
    if model.language and asked.batch != 1:
        raise UsageError(f"batch: {model.name} answers one request at a time; leave it out")
    if asked.inputs is not None:
        return _given(asked.inputs, asked.batch, model.inputs)
    if model.stages:
        raise UsageError(f"inputs: what {model.name} is asked depends on its first stage's answers; give its inputs")
    try:
        return zoo.inputs(model, asked.batch)
    except ExportError as error:
        raise UsageError(f"batch: {error}") from error


def _prompt(asked: InferenceAsked, model: ModelSpec) -> NDArray[np.uint8]:
    if not model.language or asked.inputs is not None or asked.batch != 1:
        raise UsageError("prompt: is for one request to a language model, in place of inputs; leave it out")
    how = {"max_tokens": asked.max_tokens, "temperature": 0, "seed": 0}
    body = json.dumps({"messages": [{"role": "user", "content": asked.prompt}], **how}).encode()
    return np.frombuffer(body, np.uint8)[np.newaxis]


def _given(inputs: Mapping[str, Sequence[float]], batch: int, specs: Sequence[TensorSpec]) -> Tensors:
    names = {spec.name for spec in specs}
    for name in inputs:
        if name not in names:
            raise UsageError(f"inputs.{name}: is no input of the model; it has: {', '.join(sorted(names))}")
    return {spec.name: _tensor(spec, inputs.get(spec.name), batch) for spec in specs}


def _tensor(spec: TensorSpec, numbers: Sequence[float] | None, batch: int) -> NDArray[Any]:
    where, shape = f"inputs.{spec.name}", (batch, *spec.shape)
    if numbers is None:
        raise UsageError(f"{where}: is missing; give {list(shape)} numbers, or leave all inputs out")
    wanted = np.dtype(spec.dtype.numpy)
    exact = np.array(numbers, np.float64)
    if exact.size != np.prod(shape, dtype=np.int64):
        raise UsageError(f"{where}: has {exact.size} numbers; {list(shape)} are {np.prod(shape, dtype=np.int64)}")
    with np.errstate(over="ignore", invalid="ignore"):
        array = exact.astype(wanted)
    fits = np.isfinite(array).all() if wanted.kind == "f" else (array == exact).all()
    if not fits:
        raise UsageError(f"{where}: not every number is one of {spec.dtype}")
    return array.reshape(shape)
