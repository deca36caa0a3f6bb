"""Which server for which use, as far as one run's own figures decide it.

Each use is one figure under one load. The best is named only where its 95 % interval separates it from every other
(`dashboards.report.findings`); doubted figures and the in-process floor do not compete. Where nothing sound is left,
the best of the doubted figures is shown as what it is: no recommendation.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from dashboards.report import format as fmt
from dashboards.report.findings import Standing, best_of
from dashboards.report.series import Looks, setup_names
from dashboards.report.sound import competes, reasons_against
from nightbench.figures import Estimate
from nightbench.load import ClosedLoop, Goal, OpenLoop, Search
from nightbench.server import Protocol
from nightbench.summary import CellSummary, DeploymentSummary, NightSummary

__all__ = ["Advice", "advice"]

_FEW_STARTS = "a single start"


@dataclass(frozen=True, slots=True)
class Advice:
    """One use of one model."""

    model: str
    use: str
    by: str
    """The figure that decides, and the load it was taken under."""
    standing: Standing | None
    """``None`` where no figure is sound; ``only`` then says what there is."""
    only: str
    """In words, where there is nobody to compare with."""
    left_out: tuple[str, ...]
    """Who did not compete, and why: ``flask (errors)``."""


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    figure: Estimate
    against: tuple[str, ...] = ()
    """Why it does not compete."""


def advice(night: NightSummary, looks: Looks) -> list[Advice]:
    """Every use that the run's loads can speak of, model by model; a use with one server in it is left out."""
    found = []
    for model in sorted({cell.model for cell in night.cells}):
        cells = [
            cell
            for cell in night.cells
            if cell.model == model and cell.rounds and cell.protocol is not Protocol.IN_PROCESS
        ]
        outside = {cell.server for cell in cells}
        setups = [setup for setup in night.deployments if setup.model == model and setup.server in outside]
        found += [*_by_load(model, cells, looks), *_by_deployment(model, setups)]
    return found


def _by_load(model: str, cells: Sequence[CellSummary], looks: Looks) -> Iterator[Advice]:
    single = min((cell.batch for cell in cells), default=1)
    closed = sorted(
        {cell.load.concurrency for cell in cells if isinstance(cell.load, ClosedLoop) and cell.batch == single}
    )
    each = "" if single == 1 else f", batch {single}"
    if closed:
        alone = _under(cells, ClosedLoop(closed[0]), single)
        users = "one user at a time" if closed[0] == 1 else f"{closed[0]} users who wait for their answers"
        yield from _told(model, users, f"p50 at {alone[0].load.label}{each}", _quantile(alone, "p50", looks))
        if len(closed) > 1:
            crowd = _under(cells, ClosedLoop(closed[-1]), single)
            use = f"{closed[-1]} users at once, none of them kept waiting"
            yield from _told(model, use, f"p99 at {crowd[0].load.label}{each}", _quantile(crowd, "p99", looks))
    rates = [cell.load for cell in cells if isinstance(cell.load, OpenLoop) and cell.batch == single]
    if rates:
        busiest = max(rates, key=lambda load: load.rate_rps)
        group = _under(cells, busiest, single)
        use = "requests that come when they like, as from the internet"
        yield from _told(model, use, f"p99 at {busiest.label}{each}", _quantile(group, "p99", looks))
    most = _peaks([cell for cell in cells if cell.batch == single], looks, _rate)
    by = "most requests a second, over all concurrencies and searches for the peak"
    yield from _told(model, "as many requests as it can take", by + each, most, fmt.rate, higher=True)
    if len({cell.batch for cell in cells}) > 1:
        bulk = _peaks(cells, looks, _inferences)
        by = "most inferences a second, over all batch sizes and loads"
        yield from _told(model, "work in bulk, where nobody waits", by, bulk, fmt.inferences, higher=True)
    yield from _streams(model, cells, looks, closed[:1])


def _streams(model: str, cells: Iterable[CellSummary], looks: Looks, alone: Sequence[int]) -> Iterator[Advice]:
    streaming = [cell for cell in cells if cell.stream is not None]
    first = [each for each in streaming if isinstance(each.load, ClosedLoop) and each.load.concurrency in alone]
    if first:
        known = [
            _entry(cell, looks, cell.stream.ttft_ns["p50"], "ttft_p50")
            for cell in first
            if cell.stream is not None and "p50" in cell.stream.ttft_ns
        ]
        yield from _told(
            model, "a chat that must begin to answer at once", f"p50 to the first token at c{alone[0]}", known
        )
    tokens = _peaks(streaming, looks, _tokens)
    yield from _told(
        model, "much generated text", "most tokens a second, over all loads", tokens, fmt.tokens, higher=True
    )


def _by_deployment(model: str, setups: Sequence[DeploymentSummary]) -> Iterator[Advice]:
    """Failed starts are a reason not to rely on a server that must come up by itself."""
    names = setup_names(setups)
    starts, memory = [], []
    for name, setup in zip(names, setups, strict=True):
        failed = (f"{setup.failed} of {setup.starts} starts failed",) if setup.failed else ()
        against = failed or ((_FEW_STARTS,) if setup.starts == 1 else ())
        if setup.cold_start_ns is not None:
            starts.append(_Entry(name, setup.cold_start_ns, against))
            if setup.rss_bytes is not None:
                memory.append(_Entry(name, setup.rss_bytes, against))
    use = "scaled to zero and back, or restarted often"
    yield from _told(model, use, "cold start, to the first right answer", starts, fmt.duration)
    yield from _told(model, "little memory, many models on a machine", "resident memory when ready", memory, fmt.memory)


def _under(cells: Iterable[CellSummary], load: ClosedLoop | OpenLoop, batch: int) -> list[CellSummary]:
    return [cell for cell in cells if cell.load == load and cell.batch == batch]


def _quantile(cells: Iterable[CellSummary], name: str, looks: Looks) -> list[_Entry]:
    return [_entry(cell, looks, cell.latency_ns[name], name) for cell in cells if name in cell.latency_ns]


def _entry(cell: CellSummary, looks: Looks, figure: Estimate, name: str, how: str = "") -> _Entry:
    return _Entry(f"{looks.of(cell).label}{how}", figure, reasons_against(cell, name))


def _peaks(
    cells: Iterable[CellSummary], looks: Looks, figure: Callable[[CellSummary], Estimate | None]
) -> list[_Entry]:
    """The highest of each setup, sound ones before doubted ones."""
    groups: dict[str, list[tuple[CellSummary, Estimate]]] = {}
    for cell in cells:
        known = figure(cell)
        if known is not None:
            groups.setdefault(looks.of(cell).label, []).append((cell, known))
    entries = []
    for group in groups.values():
        cell, best = max(group, key=lambda pair: (competes(pair[0], "throughput_rps"), pair[1].value))
        how = f" ({cell.load.label}{f', batch {cell.batch}' if cell.batch > 1 else ''})"
        entries.append(_entry(cell, looks, best, "throughput_rps", how))
    return entries


def _rate(cell: CellSummary) -> Estimate | None:
    if isinstance(cell.load, Search):
        return cell.answer_rps if cell.load.goal is Goal.PEAK else None
    return cell.throughput_rps if isinstance(cell.load, ClosedLoop) else None


def _inferences(cell: CellSummary) -> Estimate | None:
    rate = _rate(cell)
    return None if rate is None else fmt.times(rate, cell.batch)


def _tokens(cell: CellSummary) -> Estimate | None:
    return cell.stream.tokens_per_s if cell.stream is not None and isinstance(cell.load, ClosedLoop) else None


def _told(
    model: str,
    use: str,
    by: str,
    entries: Sequence[_Entry],
    show: Callable[[Estimate], fmt.Shown] = fmt.latency,
    *,
    higher: bool = False,
) -> Iterator[Advice]:
    """Nothing where there were never two to choose from."""
    if len(entries) < 2:
        return
    sound = [(each.name, each.figure) for each in entries if not each.against]
    out = tuple(f"{each.name} ({', '.join(each.against)})" for each in entries if each.against)
    standing = best_of(sound, show, higher_is_better=higher)
    only = ""
    if len(sound) == 1:
        ((name, figure),) = sound
        only = f"{name}, {show(figure)}, is the only one that is not doubted"
    elif not sound:
        best = (max if higher else min)(entries, key=lambda each: each.figure.value)
        only = f"no recommendation: every figure is doubted; {best.name} looked best, {show(best.figure)}"
    yield Advice(model, use, by, standing, only, out)
