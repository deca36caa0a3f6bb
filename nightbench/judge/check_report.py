"""A check as a merge request shows it: JUnit XML for its test tab, Markdown for a comment."""

from xml.etree import ElementTree as ET

from nightbench.figures import Estimate
from nightbench.judge.check import Check, Checked
from nightbench.judge.verdict import Verdict
from nightbench.judge.words import MARKDOWN, change, count, figure, one_line

__all__ = ["headline", "in_words", "junit", "markdown"]

_MOST_ROWS = 50


def headline(check: Check) -> str:
    """``2 of 120 series regressed against run ...; 3 improved, 4 insufficient``."""
    others = [
        f"{number:,} {verdict.value}"
        for verdict in (Verdict.IMPROVED, Verdict.INSUFFICIENT, Verdict.INVALID)
        if (number := check.count(verdict))
    ]
    regressed, whole = check.count(Verdict.REGRESSED), count(len(check.series), "series", "series")
    said = f"{regressed or 'none'} of {whole} regressed against {check.against}"
    return "; ".join([said, ", ".join(others)] if others else [said])


def in_words(row: Checked) -> str:
    """``4.52 ms (4.47 to 4.61) -> 4.98 ms (4.90 to 5.06), 10.2 % slower (8.9 to 11.6 %)``, and what else is known."""
    metric = row.key.metric
    levels = " -> ".join("nothing" if each is None else figure(metric, each) for each in (row.before, row.after))
    ratio = "" if row.ratio is None else f", {change(metric.direction, row.ratio)}"
    return one_line(f"{levels}{ratio}{f'; {row.detail}' if row.detail else ''}")


def junit(check: Check) -> str:
    """JUnit XML as Jenkins, GitLab and GitHub's reporters read it: one test case a series.

    Regressed series are failures; what cannot be told is skipped, and never an error, which those tools would count as
    a test that broke.
    """
    skipped = [row for row in check.series if not row.judged]
    totals = {
        "tests": str(len(check.series)),
        "failures": str(check.count(Verdict.REGRESSED)),
        "errors": "0",
        "skipped": str(len(skipped)),
    }
    root = ET.Element("testsuites", {"name": "nightbench", **totals})
    suite = ET.SubElement(root, "testsuite", {"name": one_line(check.suite), **totals, "time": "0"})
    properties = ET.SubElement(suite, "properties")
    for name, value in (("run", check.run_id), ("against", check.against)):
        ET.SubElement(properties, "property", {"name": name, "value": one_line(value)})
    for row in check.series:
        names = {"classname": one_line(f"nightbench.{check.suite}"), "name": one_line(row.label), "time": "0"}
        case = ET.SubElement(suite, "testcase", names)
        words = in_words(row)
        if row.verdict is Verdict.REGRESSED:
            failure = ET.SubElement(case, "failure", {"message": words, "type": row.verdict.value})
            failure.text = f"{words}\nfingerprint {row.key.fingerprint}, metric {row.key.metric}"
        elif not row.judged:
            ET.SubElement(case, "skipped", {"message": f"{row.verdict.value}: {words}"})
        else:
            ET.SubElement(case, "system-out").text = f"{row.verdict.value}: {words}"
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def markdown(check: Check) -> str:
    """A comment: the headline, then a table of what is not simply fine."""
    rows = [row for row in check.series if row.verdict is not Verdict.OK]
    lines = [f"### nightbench {MARKDOWN.text(check.suite)}: {MARKDOWN.text(headline(check))}", ""]
    if rows:
        lines += ["| | series | before | after | change |", "|---|---|---|---|---|"]
        lines += [_line(row) for row in rows[:_MOST_ROWS]]
        lines += [f"\nand {len(rows) - _MOST_ROWS:,} more"] if len(rows) > _MOST_ROWS else []
        lines.append("")
    lines.append(f"Run {MARKDOWN.text(check.run_id)}; figures with 95 % intervals.")
    return "\n".join(lines) + "\n"


def _line(row: Checked) -> str:
    metric = row.key.metric

    def shown(estimate: Estimate | None) -> str:
        return "" if estimate is None else figure(metric, estimate)

    said = "" if row.ratio is None else change(metric.direction, row.ratio)
    told = "; ".join(part for part in (said, row.detail) if part)
    cells = (row.verdict.value, row.label, shown(row.before), shown(row.after), told)
    return f"| {' | '.join(MARKDOWN.text(cell) for cell in cells)} |"
