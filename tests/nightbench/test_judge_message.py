"""One message a night, which says what happened and breaks nothing it is put into."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from nightbench.figures import Estimate
from nightbench.judge.alert import Alert, AlertKind, AlertState, Finding, Member
from nightbench.judge.life import AlertPrecision
from nightbench.judge.message import Links, Morning, message, panel_url
from nightbench.judge.series import Direction, Metric, SeriesKey
from nightbench.judge.verdict import Change, Outcome, Verdict
from nightbench.judge.words import MARKDOWN, PLAIN, change, figure, odds, one_line
from nightbench.record import ConfirmationRecord, TrialRecord

KEY = SeriesKey("nightly", "f00d", Metric.LATENCY_P50_NS)
BEFORE, AFTER = Estimate(4.52e6, 4.47e6, 4.61e6), Estimate(4.98e6, 4.9e6, 5.06e6)
MOVED = Change("20261118-nightly", "20261117-nightly", 3, BEFORE, AFTER, 2.3e-5, firm=True)
MEMBER = Member(KEY, "fastapi · tiny_cnn · batch 1, p50 latency", MOVED, Estimate(1.102, 1.089, 1.116), "c1")
WORSE = Finding(
    AlertKind.REGRESSION,
    "fastapi",
    "fastapi got slower",
    "",
    (MEMBER,),
    {"package torch": "2.12.0 -> 2.13.0"},
    0.1,
)
AT = datetime(2026, 11, 20, 5, 0, tzinfo=UTC)


def alert(finding: Finding = WORSE, number: int = 12, opened: str = "tonight", **changes: object) -> Alert:
    fields: dict[str, object] = {"state": AlertState.OPEN, "last_run_id": "tonight", "nights": 1}
    return Alert(
        number=number, suite="nightly", finding=finding, opened_run_id=opened, opened_at=AT, **(fields | changes)
    )


def morning(*alerts: Alert, **changes: object) -> Morning:
    return Morning("nightly", "tonight", alerts, **changes)


def told(*alerts: Alert, **changes: object) -> str:
    said = message(morning(*alerts, **changes))
    assert said is not None
    return said.plain


def trials(*pairs: tuple[float, float]) -> list[TrialRecord]:
    figures = [(number, dict(zip(("good", "tonight"), pair, strict=True))) for number, pair in enumerate(pairs)]
    return [
        TrialRecord("tonight", "c1", number, side, 0, "d", AT, {KEY.fingerprint: {KEY.metric: value}})
        for number, sides in figures
        for side, value in sides.items()
    ]


# Whether a night speaks.


OLD = alert(opened="before", nights=4)
LOOKED_AFTER = replace(OLD, state=AlertState.ACKNOWLEDGED)


@pytest.mark.parametrize(
    ("told", "subject"),
    [
        (morning(), None),
        (morning(verdicts={Verdict.OK: 2000}), None),
        (morning(LOOKED_AFTER), None),
        (morning(alert()), "nightbench nightly: 1 confirmed regression"),
        (morning(alert(), OLD, OLD, LOOKED_AFTER), "nightbench nightly: 1 confirmed regression, 2 continuing"),
        (morning(OLD), "nightbench nightly: 1 continuing"),
        (morning(recovered=[OLD]), "nightbench nightly: 1 recovered"),
        (morning(failure="the disk is full"), "nightbench nightly: measured, but not judged"),
        (
            morning(alert(Finding(AlertKind.FAILED_SERVER, "a", "a", "")), alert(), alert()),
            "nightbench nightly: 2 confirmed regressions, 1 failed server",
        ),
    ],
)
def test_a_night_speaks_where_there_is_news_and_counts_come_first(told: Morning, subject: str | None) -> None:
    said = message(told)
    assert (said.subject if said else None) == subject


# What it says.


def test_a_night_that_could_not_be_judged_says_why() -> None:
    said = message(morning(failure="OSError: the disk is full"))
    assert said is not None
    assert "OSError: the disk is full" in said.plain


def test_a_regression_is_told_with_all_it_takes_to_judge_it() -> None:
    text = told(
        alert(),
        trials=trials(*[(4.5e6, 4.9e6)] * 8),
        verdicts={Verdict.OK: 1990, Verdict.REGRESSED: 1, Verdict.INSUFFICIENT: 4},
        precision=AlertPrecision(90, 23, 20, 1),
        links=Links("http://g:3000", "http://p:4200/runs/flow-run/1", "/runs/x/report.html", "/runs/x/logs"),
    )
    assert text == (
        "1 confirmed regression\n"
        "----------------------\n"
        "\n"
        "fastapi got slower (alert 12, new)\n"
        "\n"
        "- fastapi · tiny_cnn · batch 1, p50 latency: 4.52 ms (4.47 to 4.61) -> 4.98 ms (4.90 to 5.06), 10.2 % slower\n"
        "- re-run: 8 of 8 pairs; 10.2 % slower (8.9 to 11.6 %)\n"
        "- changed since: package torch: 2.12.0 -> 2.13.0\n"
        "- how sure: confirmed by a re-run, which is wrong in at most 0.5 % of cases; "
        "where nothing changed, history shows this much by chance 1 in 40,000 times\n"
        "- failing for 3 nights, since 20261118-nightly; last good: 20261117-nightly\n"
        "- dashboard: http://g:3000/d/nightbench-series/series"
        "?var-suite=nightly&var-fingerprint=f00d&var-metric=latency_p50_ns\n"
        "\n"
        "- run: tonight\n"
        "- run in Prefect: http://p:4200/runs/flow-run/1\n"
        "- report: /runs/x/report.html\n"
        "- logs: /runs/x/logs\n"
        "\n"
        "1,990 series fine; 4 with too few nights to judge; "
        "23 alerts in 90 days, 1 called false, precision 95 % (76 to 99 %)\n"
    )


def test_pairs_that_disagree_are_counted_as_such() -> None:
    pairs = [(4.5e6, 4.9e6), (4.5e6, 4.4e6), (4.5e6, 5.0e6)]
    assert "re-run: 2 of 3 pairs; 10.2 % slower" in told(alert(), trials=trials(*pairs))
    only_good = trials((4.5e6, 4.9e6), (4.5e6, 4.9e6))[:-1]
    assert "re-run: 1 of 1 pair; " in told(alert(), trials=only_good)


def test_what_no_re_run_decided_says_why() -> None:
    unsure = replace(WORSE, kind=AlertKind.UNCONFIRMED, members=(replace(MEMBER, ratio=None),))
    record = ConfirmationRecord(
        *("tonight", "c1", "nightly", "f00d", KEY.metric, Outcome.UNCONFIRMABLE, "the old image is gone", "before"),
        *({}, {}, None, 0, 0),
    )
    text = told(alert(unsure), confirmations={"c1": record})
    assert "1 regression that no re-run could decide" in text
    assert "no re-run decided it (the old image is gone)" in text
    assert "confirmed" not in text


def test_what_was_told_before_is_told_shorter() -> None:
    both = replace(WORSE, members=(MEMBER, replace(MEMBER, label="another")))
    text = told(alert(both, opened="before", nights=4))
    assert "found on 4 nights" in text
    assert "and 1 more series that moved with it" in text
    assert "another" not in text
    assert "how sure" not in text
    # As many as it had when it was found, which is not as many as it has now.
    assert "3 nights" not in text
    assert "failing since 20261118-nightly; last good: 20261117-nightly" in text


def test_what_recovered_and_what_is_looked_after_is_said() -> None:
    text = told(LOOKED_AFTER, recovered=[replace(OLD, number=9, why="not found since tonight")])
    assert "- alert 9, after 4 nights: fastapi got slower: not found since tonight\n" in text
    assert "1 acknowledged alert still there" in text


def test_the_worst_of_the_new_stand_first() -> None:
    titles = [("small", "tonight", 0.05), ("old", "before", 0.9), ("large", "tonight", 0.5)]
    alerts = [
        alert(replace(WORSE, title=title, severity=size), opened=opened, number=number)
        for number, (title, opened, size) in enumerate(titles)
    ]
    text = told(*alerts)
    assert [text.index(f"{title} (alert") for title in ("large", "small", "old")] == sorted(
        text.index(f"{title} (alert") for title, _, _ in titles
    )


def test_long_lists_are_cut_and_say_by_how_much() -> None:
    many = replace(WORSE, members=(MEMBER,) * 40, changed={str(number): "x" for number in range(30)})
    text = told(*[alert(many, number=number) for number in range(40)])
    assert text.count("(alert ") == 12
    assert "and 28 more\n" in text
    assert "and 35 more series that moved with it" in text
    assert "and 22 more things changed" in text
    assert len(text) < 35_000  # what Slack takes


# Words.


@pytest.mark.parametrize(
    ("direction", "ratio", "words"),
    [
        (Direction.LOWER, Estimate(1.102, 1.089, 1.116), "10.2 % slower (8.9 to 11.6 %)"),
        (Direction.LOWER, Estimate(0.9, 0.88, 0.92), "10.0 % faster (8.0 to 12.0 %)"),
        (Direction.HIGHER, Estimate(0.9, 0.88, 0.92), "10.0 % lower (8.0 to 12.0 %)"),
        (Direction.HIGHER, Estimate(1.02, 0.99, 1.05), "2.0 % higher (1.0 % lower to 5.0 % higher)"),
        (Direction.LOWER, Estimate(1.5), "50.0 % slower"),
    ],
)
def test_a_ratio_in_words(direction: Direction, ratio: Estimate, words: str) -> None:
    assert change(direction, ratio) == words


@pytest.mark.parametrize(
    ("metric", "estimate", "words"),
    [
        (Metric.LATENCY_P99_NS, Estimate(4.52e6, 4.47e6, 4.61e6), "4.52 ms (4.47 to 4.61)"),
        (Metric.THROUGHPUT_RPS, Estimate(12345.6, 12000, 13000), "12,346 rps (12,000 to 13,000)"),
        (Metric.TOKENS_PER_S, Estimate(90.0), "90.0 tokens/s"),
        (Metric.ANSWER_RPS, Estimate(90.0, 88.0), "90.0 rps (at least 88.0)"),
        (Metric.ITL_P50_NS, Estimate(2.5e4, None, 3e4), "0.0250 ms (at most 0.0300)"),
    ],
)
def test_a_figure_in_words(metric: Metric, estimate: Estimate, words: str) -> None:
    assert figure(metric, estimate) == words


@pytest.mark.parametrize(
    ("p_value", "words"),
    [(0.02, "1 in 50"), (2.3e-5, "1 in 40,000"), (0.0, "less than 1 in a billion"), (1.0, "1 in 1")],
)
def test_odds_in_words(p_value: float, words: str) -> None:
    assert odds(p_value) == words


# Names come from suites and servers, and must not become markup, mentions or headers.

TEXTS = st.text() | st.text("#*_-+=`~[]()<>!|\\&;.) \n1ab@x", max_size=30)


@given(TEXTS)
def test_markdown_shows_exactly_the_text(text: str) -> None:
    html = MarkdownIt("commonmark").enable("table").enable("strikethrough").render(f"- {MARKDOWN.text(text)}\n")
    shown = re.fullmatch(r"<ul>\n<li>(.*)</li>\n</ul>\n", html, re.DOTALL)
    assert shown, html
    assert "<" not in shown[1]
    assert unescape(shown[1]) == one_line(text)


@given(TEXTS)
def test_text_is_one_printable_line(text: str) -> None:
    assert all(character.isprintable() or character == "\N{ZERO WIDTH SPACE}" for character in one_line(text))


@given(TEXTS, TEXTS)
def test_no_name_adds_a_header_or_a_line(title: str, label: str) -> None:
    finding = replace(WORSE, title=title, detail="", members=(replace(MEMBER, label=label),), subject=title)
    plain = message(Morning(title, "tonight", [alert(finding)]))
    usual = message(morning(alert()))
    assert plain is not None
    assert usual is not None
    assert len(plain.subject.splitlines()) == 1
    assert plain.plain.count("\n") == usual.plain.count("\n")


@pytest.mark.parametrize("mention", ["@everyone", "@here", "<!channel>", "<@U024BE7LH>", "@Channel"])
def test_a_name_calls_nobody(mention: str) -> None:
    assert mention not in PLAIN.text(f"resnet {mention}")
    assert mention not in MARKDOWN.text(f"resnet {mention}")
    assert one_line("image@sha256:ab") == "image@sha256:ab"


def test_a_link_holds_whatever_a_suite_is_called() -> None:
    url = panel_url("http://g:3000/grafana/", SeriesKey("a b>)&var-x=1", "f", KEY.metric))
    assert url == (
        "http://g:3000/grafana/d/nightbench-series/series"
        "?var-suite=a+b%3E%29%26var-x%3D1&var-fingerprint=f&var-metric=latency_p50_ns"
    )
