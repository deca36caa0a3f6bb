"""Figures, changes and names as the night's message has them, in Markdown and in plain text."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from nightbench.figures import Estimate
from nightbench.judge.series import Direction, Metric
from nightbench.numbers import number, with_interval

__all__ = ["MARKDOWN", "PLAIN", "Pen", "change", "count", "figure", "metric_name", "odds", "one_line"]

_NS_PER_MS = 1e6

_NAMES = {
    Metric.THROUGHPUT_RPS: "throughput",
    Metric.LATENCY_P50_NS: "p50 latency",
    Metric.LATENCY_P99_NS: "p99 latency",
    Metric.ANSWER_RPS: "rate found",
    Metric.TOKENS_PER_S: "tokens a second",
    Metric.TTFT_P50_NS: "p50 time to first token",
    Metric.ITL_P50_NS: "p50 time between tokens",
}


def metric_name(metric: Metric) -> str:
    return _NAMES[metric]


def figure(metric: Metric, estimate: Estimate) -> str:
    """With its unit and its 95 % interval: ``4.52 ms (4.47 to 4.61)``."""
    if metric.endswith("_ns"):
        return with_interval(estimate, "ms", _NS_PER_MS)
    return with_interval(estimate, "tokens/s" if metric is Metric.TOKENS_PER_S else "rps")


def change(direction: Direction, ratio: Estimate) -> str:
    """New over old, as people say it: ``10.2 % slower (8.9 to 11.6 %)``.

    Times get slower or faster, rates lower or higher. Where the interval holds both, each bound says which it is.
    """
    names = ("slower", "faster") if direction is Direction.LOWER else ("higher", "lower")

    def way(value: float) -> str:
        return names[0] if value >= 1.0 else names[1]

    def percent(value: float) -> str:
        return number(100.0 * abs(value - 1.0), 1)

    said = f"{percent(ratio.value)} % {way(ratio.value)}"
    if ratio.low is None or ratio.high is None:
        return said
    if way(ratio.low) == way(ratio.high):
        small, large = sorted((ratio.low, ratio.high), key=lambda bound: abs(bound - 1.0))
        return f"{said} ({percent(small)} to {percent(large)} %)"
    return f"{said} ({percent(ratio.low)} % {way(ratio.low)} to {percent(ratio.high)} % {way(ratio.high)})"


def odds(p_value: float) -> str:
    """``1 in 4,000``: how often so much happens by chance, rounded to one digit."""
    if p_value <= 1e-9:
        return "less than 1 in a billion"
    times = 1.0 / p_value
    unit = 10.0 ** math.floor(math.log10(times))
    return f"1 in {number(round(times / unit) * unit, 0)}"


def count(number_of: int, what: str, many: str | None = None) -> str:
    """``1 failed server``, ``2 failed servers``."""
    return f"{number_of:,} {what if number_of == 1 else many or what + 's'}"


_MENTION = re.compile(r"@(?=everyone\b|here\b|channel\b|all\b)|<(?=[!@#])", re.IGNORECASE)


def one_line(text: str) -> str:
    """``text`` as one line of printable characters that calls nobody: a name must not page a whole chat."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return _MENTION.sub("\\g<0>\N{ZERO WIDTH SPACE}", " ".join(printable.split()))


_SPECIAL = re.compile(r"[\\`*_\[\]~|]")
# What would begin a heading, a list or a rule at the start of a line.
_OPENING = re.compile(r"^(?:[#+\-=]|\d{1,9}[.)](?= |$))")


def _markdown(text: str) -> str:
    """``text`` so that Markdown, and the HTML made of it, shows exactly it (CommonMark 0.31, 2.4 and 2.5).

    Entities for ``& < >``, which renderers that know fewer backslash escapes than CommonMark's understand as well.
    """
    safe = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    safe = _SPECIAL.sub(lambda found: "\\" + found[0], safe)
    return _OPENING.sub(lambda found: f"{found[0][:-1]}\\{found[0][-1]}", safe)


@dataclass(frozen=True, slots=True)
class Pen:
    """Writes the same words in one form or another. All text that is not a constant of ours goes through ``text``."""

    text: Callable[[str], str]
    heading: Callable[[str], str]
    strong: Callable[[str], str]
    link: Callable[[str, str], str]
    """A label and a URL."""
    arrow: str


MARKDOWN = Pen(
    text=_markdown,
    heading=lambda text: f"## {text}",
    strong=lambda text: f"**{text}**",
    link=lambda label, url: f"[{label}](<{url}>)",
    arrow="→",
)
PLAIN = Pen(
    text=one_line,
    heading=lambda text: f"{text}\n{'-' * len(text)}",
    strong=lambda text: text,
    link=lambda label, url: f"{label}: {url}",
    arrow="->",
)
