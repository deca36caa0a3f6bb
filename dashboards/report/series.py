"""Who is who in every plot and table: one colour a server, one marker and dash a way of running it.

There are fewer colours that everybody can tell apart than servers. Where two share one, their lines are dashed apart.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dashboards.report.theme import SERIES
from nightbench.summary import CellSummary, DeploymentSummary, NightSummary

__all__ = ["Look", "Looks", "setup_names"]

Setup = CellSummary | DeploymentSummary

_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star")
_DASHES = ("solid", "dash", "longdash", "dashdot")


@dataclass(frozen=True, slots=True)
class Look:
    """How one series is named and drawn."""

    label: str
    """The server, and whatever else it takes to tell its series apart: ``triton · kserve-grpc``."""
    server: str
    colour: str
    symbol: str
    """A plotly marker symbol."""
    dash: str
    """A plotly line dash."""


class Looks:
    """The look of every series of a night. Colours follow the order of server names, so a night's plots agree."""

    def __init__(self, night: NightSummary) -> None:
        servers = sorted({cell.server for cell in night.cells} | {setup.server for setup in night.deployments})
        self._colours = {server: SERIES[at % len(SERIES)] for at, server in enumerate(servers)}
        labels = setup_names(night.cells)
        self._labels = {cell.cell_key: label for cell, label in zip(night.cells, labels, strict=True)}
        rank: dict[str, int] = {}
        self._by_label: dict[str, Look] = {}
        for cell, label in sorted(zip(night.cells, labels, strict=True), key=lambda pair: pair[1]):
            if label not in self._by_label:
                at = rank[cell.server] = rank.get(cell.server, -1) + 1
                place = servers.index(cell.server)
                self._by_label[label] = Look(
                    label=label,
                    server=cell.server,
                    colour=self.colour(cell.server),
                    symbol=_SYMBOLS[(place + 3 * at) % len(_SYMBOLS)],
                    dash=_DASHES[(at + place // len(SERIES)) % len(_DASHES)],
                )

    def colour(self, server: str) -> str:
        return self._colours[server]

    def of(self, cell: CellSummary) -> Look:
        return self._by_label[self._labels[cell.cell_key]]

    @property
    def legend(self) -> tuple[Look, ...]:
        """Every series once, in the order of their labels."""
        return tuple(self._by_label.values())


def setup_names(setups: Iterable[Setup]) -> list[str]:
    """A name for each setup: its server, followed by only those facts in which the server's setups differ."""
    setups = list(setups)
    facts = [_facts(setup) for setup in setups]
    names = []
    for setup, own in zip(setups, facts, strict=True):
        siblings = [each for other, each in zip(setups, facts, strict=True) if other.server == setup.server]
        differing = [text for fact, text in own.items() if any(each.get(fact) != text for each in siblings)]
        names.append(" · ".join([setup.server, *filter(None, differing)]))
    return names


def _facts(setup: Setup) -> Mapping[str, str]:
    facts = {"format": str(setup.format), "precision": str(setup.precision)}
    if isinstance(setup, CellSummary):
        facts |= {"protocol": str(setup.protocol), "batch": f"batch {setup.batch}"}
    return facts | {f"option {name}": f"{name}={value}" for name, value in setup.options.items()}
