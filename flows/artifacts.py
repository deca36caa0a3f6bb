"""What a run shows of itself in the Prefect UI: progress while it works, a table and a summary when it is done."""

from pathlib import Path
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.runtime import flow_run
from prefect.settings import get_current_settings

from flows.dressing import Dressing
from flows.picture import data_uri, throughput_svg
from flows.tables import doubt_lines, result_rows, time_line
from nightbench.summary import NightSummary
from tasks.progress import Silent

__all__ = ["PrefectProgress", "own_page", "publish"]


def own_page() -> str | None:
    """Where the flow run that asks is shown; ``None`` where no server is named."""
    api_url = get_current_settings().api.url
    return f"{api_url.removesuffix('/api')}/runs/flow-run/{flow_run.id}" if api_url else None


class PrefectProgress:
    """Writes to the flow run's log and keeps one progress artifact up to date."""

    def __init__(self) -> None:
        self._log = get_run_logger()
        # The log is the place to say that Prefect is gone as well: it reaches the run once the server is back.
        self._dressing = Dressing(Silent(), lambda: False)
        self._cells = 0
        self._done = 0
        self._artifact: UUID | None = None

    def begin(self, cells: int) -> None:
        self._cells = cells
        self._dressing.attempt(self._create)

    def _create(self) -> None:
        artifact = create_progress_artifact(progress=0.0, key="night", description=f"{self._cells} cells")
        self._artifact = artifact if isinstance(artifact, UUID) else None

    def doing(self, what: str) -> None:
        self._log.info(what)

    def done(self, cells: int) -> None:
        self._done += cells
        artifact = self._artifact
        if artifact and self._cells:
            share = 100.0 * self._done / self._cells
            self._dressing.attempt(lambda: update_progress_artifact(artifact, progress=share))

    def note(self, text: str) -> None:
        self._log.warning(text)


def publish(night: NightSummary, report: Path | None) -> None:
    """Attach the results to the flow run."""
    create_table_artifact(table=result_rows(night), key="results", description="Each figure with its 95 % interval")
    create_markdown_artifact(_markdown(night, report), key="summary", description=f"Suite {night.run.suite}")
    if svg := throughput_svg(night.cells):
        create_image_artifact(image_url=data_uri(svg), key="throughput", description="Throughput of each cell")
    if report is not None:
        create_link_artifact(
            link=report.as_uri(), link_text=report.name, key="report", description=f"On the machine itself: `{report}`"
        )


def _markdown(night: NightSummary, report: Path | None) -> str:
    run = night.run
    lines = [
        f"# {run.suite}: {len(night.cells)} cells, {night.doubted_cells} doubted, {night.missing_cells} missing",
        f"Run `{run.run_id}` on {run.hardware}, seed {run.seed}.",
        f"Report: `{report}`" if report else "No report: `nightbench report` makes it where plotly is installed.",
        f"Time: {time_line(night)}",
    ]
    failed = [record for deployment in night.deployments for record in deployment.failures]
    if failed:
        lines.append("## Servers that did not come up")
        lines += [f"- **{record.server}**, round {record.round}: {record.failure}" for record in failed]
    doubts = doubt_lines(night)
    if doubts:
        lines.append("## Doubts")
        lines += [f"- {line}" for line in doubts]
    return "\n\n".join(lines[:4]) + "\n\n" + "\n".join(lines[4:])
