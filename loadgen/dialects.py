"""What `nightbench sweep --protocol` can be, and what each of them can send."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from loadgen.payload import Payload
from loadgen.protocols.post import JSON, OCTETS
from loadgen.target import Target
from nightbench.errors import UsageError
from nightbench.server import Endpoint, Protocol

__all__ = ["DIALECTS", "Dialect", "DialectName"]

DialectName = Literal[
    "raw",
    "raw-http",
    "json",
    "kserve-v1",
    "kserve-http",
    "kserve-grpc",
    "kserve-http-shm",
    "kserve-grpc-shm",
    "torchserve",
    "torchserve-grpc",
    "tfserving-rest",
    "tfserving-grpc",
    "multipart",
    "openai",
]


@dataclass(frozen=True, slots=True)
class Dialect:
    """One way to ask a server."""

    tensors: Protocol
    """How tensors travel."""
    path: str | None = None
    """Where given bytes are posted; ``{model}`` stands for the model's name. ``None`` where only tensors are sent."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of given bytes."""
    drawn: bool = False
    """Whether bodies that mean nothing may be sent."""
    free_path: bool = True
    """Whether the path may be another than the protocol's own."""

    @property
    def json(self) -> bool:
        return self.headers.get("Content-Type") == JSON

    @property
    def named(self) -> bool:
        """Whether the protocol's own path or message names the model."""
        return not self.free_path or "{model}" in (self.path or "")

    def endpoint(self, target: Target, path: str | None, model: str, payload: Payload) -> Endpoint:
        """The endpoint for ``payload``; `UsageError` where the dialect leaves no choice of path, or needs a model."""
        wanted = path or target.path
        if wanted and not self.free_path:
            raise UsageError(f"--protocol: {self.tensors} has a path of its own; leave {wanted!r} out")
        if path and not (path.startswith("/") and path.isascii() and path.isprintable() and " " not in path):
            raise UsageError(f"--path: {path!r} is wrong; it should begin with / and be plain ASCII without spaces")
        if self.named and not wanted and not model:
            raise UsageError(f"--model: {self.tensors} needs the model's name; add --model NAME")
        if self.json and not payload.finite:
            raise UsageError(f"--input: it holds NaN or infinite numbers, which {self.tensors} cannot carry as JSON")
        if not payload.opaque or self.tensors is Protocol.OPENAI:
            # Its requests are given as bytes, and read all the same.
            return Endpoint(self.tensors, target.host, target.port, model, path=wanted)
        own = (self.path or "/").format(model=model)
        return Endpoint(
            Protocol.OPAQUE_HTTP, target.host, target.port, model, path=wanted or own, headers=dict(self.headers)
        )


_RAW = Dialect(Protocol.RAW_HTTP, "/v1/predict", {"Content-Type": OCTETS, "X-Batch": "1"}, drawn=True)

DIALECTS: Mapping[DialectName, Dialect] = {
    "raw": _RAW,
    "raw-http": _RAW,
    "json": Dialect(Protocol.JSON_HTTP, "/v1/predict", {"Content-Type": JSON}, drawn=True),
    "kserve-v1": Dialect(Protocol.KSERVE_V1, "/v1/models/{model}:predict", {"Content-Type": JSON}),
    "kserve-http": Dialect(Protocol.KSERVE_HTTP, free_path=False),
    "kserve-grpc": Dialect(Protocol.KSERVE_GRPC, free_path=False),
    "kserve-http-shm": Dialect(Protocol.KSERVE_HTTP_SHM, free_path=False),
    "kserve-grpc-shm": Dialect(Protocol.KSERVE_GRPC_SHM, free_path=False),
    "torchserve": Dialect(Protocol.TORCHSERVE, "/predictions/{model}", {"Content-Type": OCTETS}, drawn=True),
    "torchserve-grpc": Dialect(Protocol.TORCHSERVE_GRPC, free_path=False),
    "tfserving-rest": Dialect(Protocol.TFSERVING_REST, "/v1/models/{model}:predict", {"Content-Type": JSON}),
    "tfserving-grpc": Dialect(Protocol.TFSERVING_GRPC, free_path=False),
    "multipart": Dialect(Protocol.MULTIPART),
    "openai": Dialect(Protocol.OPENAI),
}
