"""Two runs side by side: every figure that both have, as `nightbench.judge.check` compares them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dashboards.report.doubts import title
from dashboards.report.series import series_names
from dashboards.report.told import Against
from nightbench.figures import Reason
from nightbench.judge.check import Checked
from nightbench.judge.check_report import headline
from nightbench.judge.compare import ratio_of
from nightbench.judge.points import points_of
from nightbench.judge.series import SeriesKey
from nightbench.judge.verdict import Verdict
from nightbench.summary import NightSummary

__all__ = ["Compared", "compared", "in_words"]


_ORDER = (
    Verdict.REGRESSED,
    Verdict.SUSPECTED,
    Verdict.ENVIRONMENT,
    Verdict.IMPROVED,
    Verdict.INSUFFICIENT,
    Verdict.OK,
    Verdict.INVALID,
)
"""What is news first, what is doubted last."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure of one series."""

    name: str
    """Of the series, with whatever tells it apart in either run."""
    checked: Checked
    doubts_before: tuple[str, ...]
    """The reasons, in words."""
    doubts_after: tuple[str, ...]


def compared(after: NightSummary, against: Against) -> list[Compared]:
    """Every figure of equal fingerprints that both runs have, doubted or not; what changed first."""
    suite = against.check.suite
    names = series_names(against.before, after)
    then, now = ({point.key: point.doubts for point in points_of(night, suite)} for night in (against.before, after))
    found = [
        Compared(names[each.key.fingerprint], _with_ratio(each), _of(then, each.key), _of(now, each.key))
        for each in against.check.series
        if each.before is not None and each.after is not None
    ]
    return sorted(found, key=lambda each: (_ORDER.index(each.checked.verdict), not each.checked.alarming))


def _with_ratio(row: Checked) -> Checked:
    """A doubted figure has no verdict, but how it moved is shown all the same, from the two intervals alone."""
    if row.ratio is not None or row.before is None or row.after is None or min(row.before.value, row.after.value) <= 0:
        return row
    return replace(row, ratio=ratio_of(row.before, row.after))


def in_words(pairs: Sequence[Compared], against: Against) -> str:
    """``2 of 48 series regressed against run ...; 3 improved``."""
    if not pairs:
        return f"the run has no series in common with {against.check.against}, so nothing can be compared"
    return headline(replace(against.check, series=tuple(each.checked for each in pairs)))


def _of(doubts: dict[SeriesKey, tuple[str, ...]], key: SeriesKey) -> tuple[str, ...]:
    return tuple(title(Reason(reason)) for reason in doubts.get(key, ()))
