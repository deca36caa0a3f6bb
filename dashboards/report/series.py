"""Who is who in every plot and table: one colour a server, one marker and dash a way of running it.

There are fewer colours that everybody can tell apart than servers. Where two share one, their lines are dashed apart.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dashboards.report.theme import SERIES
from nightbench.record import DeploymentRecord
from nightbench.server import Protocol
from nightbench.summary import CellSummary, DeploymentSummary, NightSummary

__all__ = ["Look", "Looks", "launched", "launcher_of", "series_names", "setup_key", "setup_names"]

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
    """The look of every series of a night. Colours follow the order of server names, so a night's plots agree.

    Batch sizes of one setup share its look: they are loads, and every table and plot names them.
    """

    def __init__(self, night: NightSummary) -> None:
        servers = sorted({cell.server for cell in night.cells} | {setup.server for setup in night.deployments})
        self._colours = {server: SERIES[at % len(SERIES)] for at, server in enumerate(servers)}
        labels = setup_names(night.cells, batch=False)
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


def setup_names(setups: Iterable[Setup], *, batch: bool = True) -> list[str]:
    """A name for each setup: its server, followed by only those facts in which the server's setups differ.

    Without ``batch`` its size is none of them. Whether a server ran in a container is one as soon as two cells of
    the whole differ in it: a container and a process are not the same thing to measure, whoever else they are.
    """
    setups = list(setups)
    facts = [_facts(setup, batch=batch) for setup in setups]
    launchers = [launcher_of(setup) if isinstance(setup, CellSummary) else None for setup in setups]
    mixed = len(set(filter(None, launchers))) > 1
    siblings: dict[str, list[Mapping[str, str]]] = {}
    for setup, own in zip(setups, facts, strict=True):
        siblings.setdefault(setup.server, []).append(own)
    differing = {server: _differing(group) for server, group in siblings.items()}
    names = []
    for setup, own, launcher in zip(setups, facts, launchers, strict=True):
        told = [text for fact, text in own.items() if fact in differing[setup.server]]
        names.append(" · ".join([setup.server, *filter(None, [*told, launcher if mixed else None])]))
    return names


def launcher_of(cell: CellSummary) -> str | None:
    """``docker`` or ``process``; ``None`` for the in-process floor, which nothing starts, and where nothing was
    measured."""
    if cell.protocol is Protocol.IN_PROCESS or not cell.measurements:
        return None
    return cell.measurements[0].case.launcher or "process"


def launched(night: NightSummary) -> str:
    """How a run's servers were started, in words; empty where none was measured."""
    ways = {launcher for cell in night.cells if (launcher := launcher_of(cell)) is not None}
    words = {"docker": "servers in containers", "process": "servers as local processes"}
    return "some servers in containers, some as processes" if len(ways) > 1 else "".join(words[way] for way in ways)


def series_names(*nights: NightSummary) -> dict[str, str]:
    """By fingerprint, every series of these nights in words: ``triton · kserve-grpc, resnet50, closed c4, batch 1``.

    Facts in which the nights differ are in the names of both.
    """
    cells = {cell.measurements[0].case.fingerprint: cell for night in nights for cell in night.cells if cell.rounds}
    names = setup_names(cells.values(), batch=False)
    return {
        fingerprint: f"{name}, {cell.model}, {cell.load.label}, batch {cell.batch}"
        for (fingerprint, cell), name in zip(cells.items(), names, strict=True)
    }


def setup_key(source: Setup | DeploymentRecord) -> tuple[object, ...]:
    """What is started afresh every round: equal for a cell, the starts it was measured on, and their summary."""
    return (source.server, source.model, source.format, source.precision, tuple(sorted(source.options.items())))


def _differing(group: list[Mapping[str, str]]) -> set[str]:
    facts = {fact for own in group for fact in own}
    return {fact for fact in facts if len({own.get(fact) for own in group}) > 1}


def _facts(setup: Setup, *, batch: bool) -> Mapping[str, str]:
    facts = {"format": str(setup.format), "precision": str(setup.precision)}
    if isinstance(setup, CellSummary):
        facts |= {"protocol": str(setup.protocol)} | ({"batch": f"batch {setup.batch}"} if batch else {})
    return facts | {f"option {name}": f"{name}={value}" for name, value in setup.options.items()}
