"""How tonight's distributions stand to those of the nights before: what the drift report draws. It judges nothing.

Latencies come from the stored histograms of each series, outputs from what servers answered to the parity pool. The
distance is the mean shift of the quantiles, |ln(tonight's / the window's)| averaged over all levels: the Wasserstein
distance of order 1 between the logarithms (Villani, "Optimal Transport", 2009, section 6). It reads as a relative
change, so 0.1 is about a tenth on average, whatever the unit, and a heavy tail counts by its share of the requests.

Not a test: with thousands of requests a Kolmogorov-Smirnov test calls any two nights different, and its p-value takes
requests for independent that queued behind each other. Not a distance in standard deviations: the tail makes those.
Not the population stability index: equal bins put all but the tail in one.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nightbench.figures import Reason
from nightbench.histogram import LatencyHistogram
from nightbench.record import MeasurementRecord, Record, WireParityRecord

__all__ = ["POINTS", "Drift", "latency_drifts", "output_drifts", "shift"]

POINTS = 500
"""Of each distribution: quantiles at even levels, from 0.1 % to 99.9 %. No draw, so equal histograms do not differ."""
_CURVE = 4096
_NS_PER_MS = 1e6

_OUTPUT_FIGURES: Mapping[str, tuple[Callable[[WireParityRecord], float], float]] = {
    "nrmse": (lambda record: record.nrmse, 1e-9),
    "max abs": (lambda record: record.max_abs, 1e-9),
    "1 - cosine": (lambda record: 1.0 - record.cosine, 1e-6),
}
"""Each with a value below which it is rounding."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One distribution tonight and over the window."""

    name: str
    tonight: NDArray[np.float64]
    """Quantiles at even levels, shape (`POINTS`,), rising; more than zero. The name tells the unit."""
    window: NDArray[np.float64]
    """Likewise, of all the window's values together."""

    @property
    def shift(self) -> float:
        """Mean of |ln(tonight / window)| over the quantiles."""
        return shift(self.tonight, self.window)


def shift(one: ArrayLike, other: ArrayLike) -> float:
    """Mean |ln ratio| of values of equal shape, quantiles at equal levels, more than zero; 0 of none."""
    ratios = np.log(np.asarray(one, dtype=np.float64) / np.asarray(other, dtype=np.float64))
    return float(np.abs(ratios).mean()) if ratios.size else 0.0


def latency_drifts(tonight: Iterable[Record], window: Sequence[Iterable[Record]], most: int) -> list[Drift]:
    """The ``most`` series whose latency differs most from that of the same fingerprint in ``window``, that one first.

    ``window`` are the records of earlier nights. Series are chosen by their recorded quantiles, which costs little,
    and only the histograms of the chosen are read. Of the window, rounds that are doubted as a whole do not count,
    unless for too few samples: many nights together have enough.
    """
    now = _by_fingerprint(tonight)
    before: dict[str, list[MeasurementRecord]] = {}
    for night in window:
        for fingerprint, records in _by_fingerprint(night).items():
            before.setdefault(fingerprint, []).extend(record for record in records if _sound(record))
    rough = {key: _rough(records, before[key]) for key, records in now.items() if before.get(key)}
    chosen = sorted(rough, key=lambda fingerprint: (-rough[fingerprint], fingerprint))[:most]
    names = _names({fingerprint: _label(now[fingerprint][0]) for fingerprint in chosen})
    found = []
    for fingerprint in chosen:
        values = _latency_ms(now[fingerprint]), _latency_ms(before[fingerprint])
        if all(map(len, values)):
            found.append(Drift(f"latency (ms): {names[fingerprint]}", *values))
    return _worst_first(found, most)


def output_drifts(tonight: Iterable[Record], window: Sequence[Iterable[Record]], most: int) -> list[Drift]:
    """The ``most`` figures of answers, against PyTorch's, that differ most from those of the window.

    One a server, model, format, precision, protocol, batch and output, of each figure, over all starts.
    """
    now = _by_answer(tonight)
    before: dict[tuple[str, str], list[float]] = {}
    for night in window:
        for key, values in _by_answer(night).items():
            before.setdefault(key, []).extend(values)
    found = [
        Drift(f"{figure}: {subject}", _even(values), _even(before[subject, figure]))
        for (subject, figure), values in now.items()
        if before.get((subject, figure))
    ]
    return _worst_first(found, most)


def _worst_first(found: Iterable[Drift], most: int) -> list[Drift]:
    return sorted(found, key=lambda drift: (-drift.shift, drift.name))[:most]


def _by_fingerprint(records: Iterable[Record]) -> dict[str, list[MeasurementRecord]]:
    found: dict[str, list[MeasurementRecord]] = {}
    for record in records:
        if isinstance(record, MeasurementRecord) and record.ok:
            found.setdefault(record.case.fingerprint, []).append(record)
    return found


def _sound(record: MeasurementRecord) -> bool:
    return all(not doubt.whole_cell or doubt.reason is Reason.TOO_FEW_SAMPLES for doubt in record.doubts)


def _rough(tonight: Sequence[MeasurementRecord], window: Sequence[MeasurementRecord]) -> float:
    """The shift of the recorded quantiles' medians over the rounds, of those that both have."""

    def medians(records: Sequence[MeasurementRecord]) -> dict[str, float]:
        values: dict[str, list[float]] = {}
        for record in records:
            for name, estimate in record.latency_ns.items():
                if 0.0 < estimate.value < math.inf:
                    values.setdefault(name, []).append(estimate.value)
        return {name: float(np.median(each)) for name, each in values.items()}

    now, before = medians(tonight), medians(window)
    both = sorted(now.keys() & before.keys())
    return shift([now[name] for name in both], [before[name] for name in both])


def _latency_ms(records: Sequence[MeasurementRecord]) -> NDArray[np.float64]:
    merged = LatencyHistogram.merge([LatencyHistogram.decode(record.histogram) for record in records])
    curve = merged.curve(_CURVE)
    if not curve:
        return np.empty(0)
    shares, values_ns = np.array(curve).T
    at = np.searchsorted(shares, _levels())
    values_ms: NDArray[np.float64] = values_ns[np.minimum(at, len(values_ns) - 1)] / _NS_PER_MS
    return values_ms


def _levels() -> NDArray[np.float64]:
    return (np.arange(POINTS) + 0.5) / POINTS


def _even(values: Sequence[float]) -> NDArray[np.float64]:
    return np.quantile(np.asarray(values, dtype=np.float64), _levels(), method="inverted_cdf")


def _by_answer(records: Iterable[Record]) -> dict[tuple[str, str], list[float]]:
    """Values by subject in words and figure. What is no number is for the parity check to tell."""
    found: dict[tuple[str, str], list[float]] = {}
    for record in records:
        if not isinstance(record, WireParityRecord) or not record.answered:
            continue
        what = f"{record.server} {record.model} {record.format} {record.precision} {record.protocol}"
        for figure, (value_of, rounding) in _OUTPUT_FIGURES.items():
            value = value_of(record)
            if math.isfinite(value):
                key = f"{what} b{record.batch} {record.output}", figure
                found.setdefault(key, []).append(max(value, rounding))
    return found


def _label(record: MeasurementRecord) -> str:
    case = record.case
    return f"{case.server} {case.model} {case.precision} b{case.batch} {case.protocol} {case.load.label}"


def _names(labels: Mapping[str, str]) -> dict[str, str]:
    """By fingerprint, with its beginning where two series of different options would be called the same."""
    taken = list(labels.values())
    return {key: label if taken.count(label) == 1 else f"{label} ({key[:6]})" for key, label in labels.items()}
