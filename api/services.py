"""What the API is given by whoever starts it: it knows neither Prefect nor where things lie by itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from db.api_store import ApiStore
from nightbench.catalog import Catalog

__all__ = ["Limits", "Services"]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one caller may ask, in the notation of the ``limits`` library."""

    of_key: str = "120/minute"
    of_address: str = "600/minute"
    """All that comes from one address, whatever its keys; of IPv6 from one /64, which is what one host is given."""
    wrong_keys: str = "20/minute"
    """Wrong or missing keys from one address."""
    body_bytes: int = 16 * 2**20
    """Of one request's body."""


@dataclass(frozen=True, slots=True)
class Services:
    """All that the API works on."""

    store: ApiStore
    catalog: Catalog
    start_run: Callable[[str, Mapping[str, object], str | None], str]
    """Starts a suite's run with parameters; its flow run's id, which for the same idempotency key is the same one.
    Raises `UsageError` for what cannot be started, `api.problems.Unavailable` where it is not known to be."""
    orchestrator_answers: Callable[[], bool]
    spool: Path
    live: Path
    """Where running deployments are announced (`tasks.live`)."""
    own_ports: Callable[[], frozenset[int]] = field(default=frozenset)
    """Ports of this machine on which our own services listen: nobody asks them for predictions."""
    inference_ports: range = range(0)
    """Ports of this machine on which nothing but inference servers listens: operators may ask any of them."""
