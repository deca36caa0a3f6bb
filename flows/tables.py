"""A night as rows of text, for terminals and Prefect tables alike."""

from collections.abc import Mapping

from dashboards.report.doubts import title
from dashboards.report.format import NOTHING, Shown, duration, latency, memory, rate
from dashboards.report.series import setup_names
from nightbench.figures import Reason
from nightbench.ledger import own_share
from nightbench.plan import Plan
from nightbench.summary import CellSummary, DeploymentSummary, NightSummary

__all__ = ["doubt_lines", "missing_lines", "own_line", "result_rows", "time_line"]


def result_rows(night: NightSummary) -> list[dict[str, str]]:
    """One row a cell, in reading order, with the memory and cold start of the server setup it ran on."""
    names = setup_names(night.cells)
    return [_row(name, cell, _deployment_of(cell, night)) for name, cell in zip(names, night.cells, strict=True)]


def _row(name: str, cell: CellSummary, deployment: DeploymentSummary | None) -> dict[str, str]:
    def quantile(name: str) -> str:
        return _stacked(latency(cell.latency_ns.get(name)))

    return {
        "server": name.replace(" · ", "\n"),
        "model": cell.model,
        "load": f"{cell.load.label}\nbatch {cell.batch}",
        "throughput": _stacked(rate(cell.throughput_rps)),
        "p50": quantile("p50"),
        "p95": quantile("p95"),
        "p99": quantile("p99"),
        "cold start": _stacked(duration(deployment.cold_start_ns if deployment else None)),
        "RSS": _stacked(memory(deployment.rss_bytes if deployment else None)),
        "errors": str(cell.failed) if cell.rounds else NOTHING,
        "doubts": _remarks(cell),
    }


def _stacked(figure: Shown) -> str:
    """The figure over its interval: a table of them stays narrow enough to read."""
    value = " ".join(part for part in (figure.value, figure.unit) if part)
    return f"{value}\n{figure.interval}" if figure.interval else value


def _remarks(cell: CellSummary) -> str:
    """Reasons by name; their sentences stand below the table."""
    remarks = [
        title(doubt.reason) if doubt.whole_cell else f"{' '.join(doubt.figures)}: {title(doubt.reason)}"
        for doubt in cell.doubts
    ]
    if cell.missing:
        remarks.append(f"{len(cell.missing)} of {cell.planned_rounds} rounds missing")
    return "\n".join(remarks)


def _deployment_of(cell: CellSummary, night: NightSummary) -> DeploymentSummary | None:
    wanted = (cell.server, cell.model, cell.format, cell.precision, dict(cell.options))
    for deployment in night.deployments:
        have = (deployment.server, deployment.model, deployment.format, deployment.precision, dict(deployment.options))
        if have == wanted:
            return deployment
    return None


def doubt_lines(night: NightSummary) -> list[str]:
    """A sentence for every reason that occurs: how many cells it concerns, and one of them in detail."""
    found: dict[Reason, list[str]] = {}
    for name, cell in zip(setup_names(night.cells), night.cells, strict=True):
        for doubt in cell.doubts:
            found.setdefault(doubt.reason, []).append(f"{name}, {cell.model}, {cell.load.label}: {doubt.detail}")
    return [
        f"{title(reason)} in {len(details)} of {len(night.cells)} cells, such as {details[0]}"
        for reason, details in sorted(found.items())
    ]


def missing_lines(night: NightSummary) -> list[str]:
    """A sentence for every cell that has a round missing."""
    return [
        f"{name}, {cell.model}, {cell.load.label}, round {missing.round}: "
        f"{missing.reason.replace('_', ' ')}: {missing.detail}"
        for name, cell in zip(setup_names(night.cells), night.cells, strict=True)
        for missing in cell.missing
    ]


def time_line(night: NightSummary) -> str:
    """Where the time went, longest first."""
    if night.finished is None:
        return "the run has not finished"
    spent = sorted(night.finished.spent_ns.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {ns / 1e9:.1f} s" for name, ns in spent)


def own_line(night: NightSummary, reference: Plan, cell_s: float, start_estimates_s: Mapping[str, float]) -> str:
    """What nightbench itself cost here, and what that would be of a whole night of ``reference``."""
    own_ns_per = night.finished.own_ns_per if night.finished else {}
    if not own_ns_per:
        return "nothing was measured"
    share = own_share(own_ns_per, reference, cell_s, start_estimates_s)
    hours = reference.estimate_s(cell_s, start_estimates_s) / 3600
    units = ", ".join(f"{ns / 1e9:.2f} s a {unit}" for unit, ns in sorted(own_ns_per.items()))
    return f"{units}: {share:.1%} of a night of the nightly suite ({hours:.1f} h)"
