"""Results on paper: what a reader of the HTML report takes from it, without its plots, as PDF."""

from collections.abc import Iterable, Sequence
from typing import Any

from dashboards.report import format as fmt
from dashboards.report import tables
from dashboards.report.advice import advice
from dashboards.report.doubts import doubted
from dashboards.report.findings import Standing, contests, in_words, troubles
from dashboards.report.provenance import provenance
from dashboards.report.series import Looks, launched
from dashboards.report.servers import servers
from dashboards.report.told import Told
from dashboards.report.verdicts import verdicts
from nightbench.summary import NightSummary

__all__ = ["as_pdf"]

_SMALL, _TEXT, _HEADING = 7, 9, 13
_BELOW_MM = 26.0
_MISSING = {
    ord("\N{EN DASH}"): "-",
    ord("\N{GREATER-THAN OR EQUAL TO}"): ">=",
    ord("\N{LESS-THAN OR EQUAL TO}"): "<=",
    ord("\N{RIGHTWARDS ARROW}"): "->",
    ord("\N{GREEK SMALL LETTER LAMDA}"): "lambda",
    ord("\N{HORIZONTAL ELLIPSIS}"): "...",
}
"""The fonts that every PDF reader has hold Latin-1 alone."""


def as_pdf(night: NightSummary, told: Told) -> bytes:
    """The document; made at the run's own time, so that the same run gives the same bytes."""
    pdf = _paper(night)
    looks = Looks(night)
    run = night.run
    pdf.set_font("Helvetica", "B", 20)
    pdf.cell(0, 10, _plain(f"nightbench: {run.suite}"), new_x="LMARGIN", new_y="NEXT")
    how = f", {launched(night)}" * bool(launched(night))
    lasted, status = "", "unfinished"
    if night.finished is not None:
        status = night.finished.status
        lasted = f", took {fmt.in_words(night.finished.took_ns)}"
    measured = len(night.cells) - night.missing_cells
    _say(pdf, f"{run.started_at:%Y-%m-%d %H:%M %Z} on {run.hardware}{how}{lasted}. Run {run.run_id}: {status}.")
    _say(
        pdf,
        f"{measured} of {len(night.cells)} cells measured, {night.doubted_cells} doubted, {night.missing_cells} "
        "missing. Figures stand with 95 % intervals between fresh deployments.",
    )
    for said in verdicts(night, told):
        _heading(pdf, f"Verdicts: {said.heading[:1].lower()}{said.heading[1:]}")
        _say(pdf, said.lead)
        _table(
            pdf,
            ("verdict", "series", "figure", "before", "after", "change", "remark"),
            [(row.verdict, row.series, row.metric, row.before, row.after, row.change, row.why) for row in said.rows],
            (7, 26, 10, 14, 14, 14, 15),
        )
        for apart in said.apart:
            _say(pdf, f"Not compared, {len(apart.series)} series of {apart.run_id}: {apart.why}.")
    _heading(pdf, "What stands out")
    _say(pdf, in_words(contests(night, looks)))
    for sentence in troubles(night):
        _say(pdf, sentence)
    uses = advice(night, looks)
    if uses:
        _heading(pdf, "Which server for which use")
        _table(
            pdf,
            ("model", "use", "server", "decided by", "left out"),
            [(use.model, use.use, _told(use.standing, use.only), use.by, ", ".join(use.left_out)) for use in uses],
            (14, 20, 26, 18, 22),
        )
    _heading(pdf, "Servers side by side")
    side = servers(night, told.starts, looks)
    _table(
        pdf,
        ("server", "model", "started as", "cold start", "model load", "memory", "p95 alone", "most a second"),
        [
            (
                row.name,
                row.model,
                row.started,
                *map(str, (row.cold_start, row.model_load, row.memory, row.alone)),
                f"{row.most} {row.at}".strip(),
            )
            for row in side
        ],
        (14, 14, 8, 13, 13, 13, 12, 13),
    )
    _heading(pdf, "All results")
    for group in tables.results(night, looks):
        _say(pdf, f"{group.model}, {group.load}, batch {group.batch}", bold=True)
        _table(
            pdf,
            ("server", "throughput (rps)", "p50 (ms)", "p95 (ms)", "p99 (ms)", "errors", "state", "notes"),
            [
                (
                    row.name,
                    *([_bare(figure) for figure in row.figures] or [fmt.NOTHING] * 4),
                    row.errors or fmt.NOTHING,
                    row.state,
                    "; ".join(note.label for note in row.notes),
                )
                for row in group.rows
            ],
            (15, 13, 12, 12, 12, 10, 7, 19),
        )
    _heading(pdf, "Doubts, explained")
    names = {cell.cell_key: "" for cell in night.cells}
    for reason in doubted(night, names):
        _say(pdf, f"{reason.title}, in {len(reason.cells)} of {len(night.cells)} cells", bold=True)
        _say(pdf, reason.explanation)
    if not any(cell.doubts for cell in night.cells):
        _say(pdf, "No figure is doubted.")
    _heading(pdf, "Provenance")
    origin = provenance(night, told)
    _say(pdf, f"To repeat this night. {origin.note}".strip())
    pdf.set_font("Courier", size=_TEXT)
    pdf.multi_cell(0, 5, _plain(origin.commands), new_x="LMARGIN", new_y="NEXT")
    for name, value in origin.facts.items():
        _say(pdf, f"{name}: {value}")
    return bytes(pdf.output())


def _paper(night: NightSummary) -> Any:
    from fpdf import FPDF

    class Paper(FPDF):
        def footer(self) -> None:
            self.set_y(-12)
            self.set_font("Helvetica", size=_SMALL)
            self.cell(0, 8, _plain(f"nightbench, run {night.run.run_id}, page {self.page_no()}"), align="C")

    pdf = Paper(orientation="landscape", format="A4")
    pdf.set_creation_date(night.run.started_at)
    pdf.set_title(_plain(f"nightbench: {night.run.suite}, {night.run.run_id}"))
    pdf.set_lang("en")
    pdf.set_auto_page_break(auto=True, margin=15)
    pdf.add_page()
    return pdf


def _heading(pdf: Any, text: str) -> None:
    pdf.ln(3)
    _keep_together(pdf)
    pdf.set_font("Helvetica", "B", _HEADING)
    pdf.cell(0, 8, _plain(text), new_x="LMARGIN", new_y="NEXT")


def _keep_together(pdf: Any) -> None:
    """A heading alone at the foot of a page heads nothing."""
    if pdf.will_page_break(_BELOW_MM):
        pdf.add_page()


def _say(pdf: Any, text: str, *, bold: bool = False) -> None:
    if bold:
        _keep_together(pdf)
    pdf.set_font("Helvetica", "B" if bold else "", _TEXT)
    pdf.multi_cell(0, 4.6, _plain(text), new_x="LMARGIN", new_y="NEXT")


def _table(pdf: Any, heads: Sequence[str], rows: Iterable[Sequence[str]], widths: Sequence[int]) -> None:
    from fpdf.fonts import FontFace

    rows = list(rows)
    if not rows:
        return
    pdf.ln(1)
    pdf.set_font("Helvetica", size=_SMALL)
    with pdf.table(
        col_widths=tuple(widths),
        line_height=3.6,
        padding=0.8,
        text_align="LEFT",
        borders_layout="HORIZONTAL_LINES",
        headings_style=FontFace(emphasis="BOLD"),
    ) as table:
        for each in (heads, *rows):
            row = table.row()
            for text in each:
                row.cell(_plain(text or fmt.NOTHING))
    pdf.ln(2)


def _bare(figure: fmt.Shown) -> str:
    return f"{figure.value} {figure.interval}".rstrip()


def _told(standing: Standing | None, only: str) -> str:
    if standing is None:
        return only
    if standing.decided:
        return f"{standing.leaders[0]} {standing.figure}, then {standing.runner_up}"
    return f"undecided: {', '.join(standing.leaders)}; best figure {standing.figure}"


def _plain(text: str) -> str:
    """In the letters of Latin-1, and nothing that moves the pen."""
    shown = "".join(each if each.isprintable() or each == "\n" else " " for each in text.translate(_MISSING))
    return shown.encode("latin-1", "replace").decode("latin-1")
