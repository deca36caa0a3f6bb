"""What is measured, while it runs."""

from dataclasses import dataclass

from nightbench.plan import Cell, Replicate
from nightbench.server import Deployment, Protocol
from tasks.export import Exported

__all__ = ["Subject"]


@dataclass(frozen=True, slots=True)
class Subject:
    """A running deployment and what it serves."""

    replicate: Replicate
    deployment: Deployment
    exported: Exported

    def kind(self, cell: Cell) -> tuple[str, Protocol, int]:
        """What `tasks.session.Known.parity` knows the answers to ``cell`` by."""
        return self.replicate.deployment_id, cell.protocol, cell.batch
