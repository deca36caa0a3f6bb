"""From the marks of streamed answers to figures: time to first token, inter-token latency, tokens a second, goodput.

What a token is. A mark says when a read completed how many parts. An answer has as many tokens as its server counts,
or as many as its parts where the server counts none or fewer. **Tokens that came together came at one time**: n
tokens at one mark are one gap since the mark before and n - 1 gaps of nothing. So an answer's gaps always add up to
the time from its first token to its last, and their mean is the time per output token of MLPerf Inference and
`vllm bench serve` ((latency - time to first token) / (tokens - 1)), which AIPerf calls inter-token latency. The
distribution is over the gaps of all answers, not over one mean an answer as theirs: a stall in the middle of an answer
stays visible. vLLM's own "ITL" takes the gaps between chunks and leaves out that a chunk may hold many tokens, so that
"it cannot be used to directly compare the performance of different servers" (vllm-project/vllm#5263); spreading a gap
over the tokens of its burst would invent arrivals that nobody saw. Bursts are so counted as they were received, and
doubted where there are many.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nightbench.figures import Doubt, Estimate, Reason, StreamFigures
from nightbench.samples import Marks, Samples
from nightbench.stats.autocorrelation import long_run_variance
from nightbench.stats.clusters import clustered_quantiles
from nightbench.stats.distributions import student_t_quantile
from nightbench.stats.quantiles import NotEnough, quantiles
from nightbench.stats.rates import throughput

__all__ = ["stream_figures"]

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
MAX_BURST_SHARE = 0.1
"""Of the gaps between parts: from here on p90 is the length of a burst rather than of a model's step."""
MAX_COUNT_MISS = 0.05
"""Of the server's count, besides one token an answer: the one that ends it has no text."""
MAX_SILENT_SHARE = 0.001
"""Successful answers without output leave the times to first token, as failures leave latencies."""

_FEW_MARKS = 50
"""Below this many marks windows hold too few to show their own spread."""
_MOST_WINDOWS = 512
_FEWEST_WINDOWS = 10
_MARKS_A_WINDOW = 10
_NS_PER_MS = 1e6

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Answers:
    """Successful answers that held output, one a row in order of their intended times, and their marks, sorted so."""

    intended_ns: Ints
    done_ns: Ints
    at_ns: Ints
    """Of each mark."""
    owner: Ints
    """The answer that each mark belongs to."""
    first: Ints
    """Each answer's first mark."""
    parts: Ints
    counted: Ints
    """Tokens as the server counts them; -1 where it did not say."""
    tokens_at: Ints
    """Tokens of each mark: an answer's tokens are shared out over its parts, as even as whole tokens can be."""

    @classmethod
    def of(cls, samples: Samples, marks: Marks) -> "_Answers":
        kept = np.flatnonzero(samples.ok[marks.row])
        kept = kept[np.argsort(marks.row[kept], kind="stable")]
        row, at, parts_at = marks.row[kept], marks.at_ns[kept], marks.parts[kept]
        starts = np.ones(len(row), dtype=np.bool_)
        starts[1:] = row[1:] != row[:-1]
        first, owner = np.flatnonzero(starts), np.cumsum(starts) - 1
        rows = row[first]
        parts = np.add.reduceat(parts_at, first) if len(first) else np.zeros(0, np.int64)
        counted = marks.tokens[rows]
        tokens = np.maximum(counted, parts)
        before = np.cumsum(parts_at) - parts_at
        so_far = before - before[first][owner]
        share = tokens[owner], parts[owner]
        tokens_at = (so_far + parts_at) * share[0] // share[1] - so_far * share[0] // share[1]
        return cls(samples.intended_ns[rows], samples.done_ns[rows], at, owner, first, parts, counted, tokens_at)

    @property
    def last(self) -> Ints:
        ends = np.append(self.first, len(self.at_ns)) - 1
        return ends[1:]

    @property
    def ttft_ns(self) -> Ints:
        return self.at_ns[self.first] - self.intended_ns

    @property
    def tokens(self) -> Ints:
        return np.maximum(self.counted, self.parts)

    @property
    def gaps(self) -> Ints:
        """How many gaps lie between the tokens of each answer, those of nothing included."""
        return self.tokens - 1

    @property
    def mean_gap_ns(self) -> NDArray[np.float64]:
        """0 for an answer of one token."""
        span = self.at_ns[self.last] - self.at_ns[self.first]
        return span / np.maximum(self.gaps, 1)


def stream_figures(
    samples: Samples, marks: Marks, start_ns: int, end_ns: int, slo: Mapping[str, float]
) -> tuple[StreamFigures, tuple[Doubt, ...]]:
    """The figures of the window [start_ns, end_ns), and what is doubtful about them.

    ``samples`` and ``marks`` are of the whole run. Requests belong to the window by their intended time, for the time
    to first token (from that time), for inter-token latency and for ``tokens``, however late they ended; what is said
    *a second* counts what came inside the window, tokens by their marks and requests by the time they were done.

    Intervals of the time to first token honour autocorrelation in order of time; those of inter-token latency take an
    answer's gaps as one cluster (`nightbench.stats.clusters`). Goodput counts successful requests whose time to first
    token is at most ``slo["ttft_ms"]`` and whose mean gap is at most ``slo["itl_ms"]``, as far as these are given; an
    answer without output keeps no bound.
    """
    answers = _Answers.of(samples, marks)
    inside = (answers.intended_ns >= start_ns) & (answers.intended_ns < end_ns)
    ttft, few_answers = _estimates(quantiles(answers.ttft_ns[inside], QUANTILES.values()))
    itl, few_gaps = _estimates(_gap_quantiles(answers, inside))
    figures = StreamFigures(
        ttft_ns=ttft,
        itl_ns=itl,
        tokens=int(answers.tokens[inside].sum()),
        tokens_per_s=_token_rate(answers, start_ns, end_ns),
        goodput_rps=_goodput(answers, start_ns, end_ns, slo) if slo else None,
        slo=dict(slo),
    )
    due = samples.between(start_ns, end_ns)
    doubts = (
        *_silent(int(np.count_nonzero(due.ok)), int(np.count_nonzero(inside))),
        *_too_few(answers, inside, few_answers, few_gaps),
        *_bursts(answers, inside),
        *_counts_differ(answers, inside),
    )
    return figures, doubts


def _gap_quantiles(answers: _Answers, inside: NDArray[np.bool_]) -> dict[float, Estimate | NotEnough]:
    follows = np.ones(len(answers.at_ns), dtype=np.bool_)
    follows[answers.first] = False
    later = np.flatnonzero(follows & inside[answers.owner])
    owner = answers.owner[later]
    zeros = answers.gaps - np.bincount(owner, minlength=len(inside))
    number = np.cumsum(inside) - 1
    gaps = answers.at_ns[later] - answers.at_ns[later - 1]
    return clustered_quantiles(gaps, number[owner], zeros[inside], QUANTILES.values())


def _token_rate(answers: _Answers, start_ns: int, end_ns: int) -> Estimate:
    """Tokens a second; like `nightbench.stats.rates.throughput`, but a mark is as many events as it has tokens."""
    if end_ns <= start_ns:
        return Estimate(0.0)
    span_ns = end_ns - start_ns
    inside = (answers.at_ns >= start_ns) & (answers.at_ns < end_ns)
    at, tokens = answers.at_ns[inside] - start_ns, answers.tokens_at[inside]
    rate = float(tokens.sum()) / span_ns * 1e9
    if len(at) < _FEW_MARKS:
        return Estimate(rate)
    windows = max(_FEWEST_WINDOWS, min(_MOST_WINDOWS, len(at) // _MARKS_A_WINDOW))
    counts = np.bincount(at * windows // span_ns, tokens, windows).astype(np.float64)
    run = long_run_variance(counts)
    half = student_t_quantile(0.975, run.dof) * math.sqrt(run.variance / windows) * windows / span_ns * 1e9
    return Estimate(rate, max(0.0, rate - half), rate + half)


def _goodput(answers: _Answers, start_ns: int, end_ns: int, slo: Mapping[str, float]) -> Estimate:
    good = (answers.ttft_ns <= slo.get("ttft_ms", math.inf) * _NS_PER_MS) & (
        answers.mean_gap_ns <= slo.get("itl_ms", math.inf) * _NS_PER_MS
    )
    return throughput(answers.done_ns[good], start_ns, end_ns)


def _estimates(found: Mapping[float, Estimate | NotEnough]) -> tuple[dict[str, Estimate], dict[str, int]]:
    """The quantiles that can be had, and how many values those would need that cannot."""
    estimates: dict[str, Estimate] = {}
    needed: dict[str, int] = {}
    for name, q in QUANTILES.items():
        answer = found[q]
        if isinstance(answer, Estimate):
            estimates[name] = answer
            continue
        needed[name] = answer.needed
        if answer.seen is not None:
            estimates[name] = Estimate(answer.seen)
    return estimates, needed


def _too_few(
    answers: _Answers, inside: NDArray[np.bool_], few_answers: Mapping[str, int], few_gaps: Mapping[str, int]
) -> Iterator[Doubt]:
    """Some quantiles were refused: says how many answers, or gaps between tokens, each would need."""
    needs = [f"ttft_{name} needs about {count} answers" for name, count in few_answers.items()]
    needs += [f"itl_{name} needs about {count} gaps" for name, count in few_gaps.items()]
    if needs:
        yield Doubt(
            Reason.TOO_FEW_SAMPLES,
            f"{np.count_nonzero(inside)} answers with {answers.gaps[inside].sum()} gaps between tokens were measured: "
            + ", ".join(needs),
            (*_names("ttft", few_answers), *_names("itl", few_gaps)),
        )


def _silent(succeeded: int, spoke: int) -> Iterator[Doubt]:
    """Answers that succeeded and held nothing: they have no time to first token."""
    if succeeded - spoke > MAX_SILENT_SHARE * succeeded:
        detail = f"{succeeded - spoke} of {succeeded} successful answers held no output"
        yield Doubt(Reason.ERRORS, detail, _names("ttft", QUANTILES))


def _bursts(answers: _Answers, inside: NDArray[np.bool_]) -> Iterator[Doubt]:
    """Parts that were read together: the gaps tell how bytes travelled, not how tokens were made."""
    marks = np.bincount(answers.owner, minlength=len(inside))[inside].sum()
    parts = answers.parts[inside].sum()
    gaps = parts - np.count_nonzero(inside)
    if parts - marks > MAX_BURST_SHARE * gaps:
        yield Doubt(
            Reason.BIMODAL,
            f"{(parts - marks) / gaps:.0%} of the tokens came together with the one before them: the rest of the gaps "
            "are those between bursts",
            _names("itl", QUANTILES),
        )


def _counts_differ(answers: _Answers, inside: NDArray[np.bool_]) -> Iterator[Doubt]:
    """The server counts other tokens than came as parts: some came in one event, or without one."""
    told = inside & (answers.counted >= 0)
    counted, parts = int(answers.counted[told].sum()), int(answers.parts[told].sum())
    if abs(counted - parts) > MAX_COUNT_MISS * counted + np.count_nonzero(told):
        yield Doubt(
            Reason.SERVER_COUNTS_DIFFER,
            f"the server counts {counted} tokens, and {parts} events held output",
            (*_names("itl", QUANTILES), "tokens_per_s"),
        )


def _names(what: str, quantiles_: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(f"{what}_{name}" for name in quantiles_)
