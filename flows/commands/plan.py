"""`nightbench plan`."""

from dashboards.report.format import in_words
from flows.console import open_console, table
from flows.registry import load_catalog, suite_path
from nightbench.catalog import resolve
from nightbench.settings import Settings
from nightbench.suite import load_suite
from tasks.request import check_traces

__all__ = ["plan"]


def plan(suite: str, /) -> None:
    """Print what a suite would measure, and for how long, without running anything.

    Parameters
    ----------
    suite
        A suite's name or file.
    """
    path = suite_path(suite)
    catalog = load_catalog(Settings.from_environment())
    chosen, _ = load_suite(path)
    night = resolve(chosen, catalog, str(path))
    check_traces(night)
    rows = [
        {
            "round": str(replicate.round),
            "server": replicate.setup.server,
            "model": replicate.setup.export.model,
            "format": replicate.setup.export.format.value,
            "protocol": cell.protocol.value,
            "batch": str(cell.batch),
            "load": cell.load.label,
            "cell": cell.cell_id,
        }
        for replicate in night.replicates
        for cell in replicate.cells
    ]
    console = open_console()
    console.print(table(f"{chosen.name}: {chosen.description}", rows))
    timing = chosen.measure
    starts = {name: server.start_estimate_s for name, server in catalog.with_external(chosen).servers.items()}
    estimate_s = night.estimate_s(timing.warmup_s + timing.duration_s, starts)
    # With a precision to reach, the duration is a budget.
    roughly = "about" if timing.precision is None else "at most"
    console.print(
        f"{len(night.cells)} cells in {night.rounds} rounds, {len(night.replicates)} deployments, "
        f"{len(night.exports)} exports; {roughly} {in_words(estimate_s * 1e9)} once exports and environments are "
        "cached",
        highlight=False,
    )
