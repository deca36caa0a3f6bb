"""Whole latency distributions in a few kilobytes of text, exact to merge: HdrHistogram's V2 format.

See Tene, "HdrHistogram: A High Dynamic Range Histogram" (hdrhistogram.org). Any of its tools reads the text.
"""

import binascii
import zlib
from collections.abc import Iterable

import numpy as np
from hdrh.codec import HdrCookieException, HdrHistogramSettingsException, HdrLengthException
from hdrh.histogram import HdrHistogram
from numpy.typing import ArrayLike, NDArray

from nightbench.errors import NightbenchError

__all__ = ["HIGHEST_NS", "LOWEST_NS", "LatencyHistogram"]

LOWEST_NS = 1
"""A unit of 1 us would leave 50 us, a quick in-process answer, two digits. Ranges that nothing fell in cost no text."""
HIGHEST_NS = 600_000_000_000
_DIGITS = 3
"""Buckets are narrower than one part in a thousand of their value."""
_CHUNK = 2**20
"""Values recorded at once: what they take meanwhile stays below 50 MB."""


class LatencyHistogram:
    """Counts of latencies from 1 ns to ten minutes, to three significant digits; about 250 kB while in memory."""

    def __init__(self) -> None:
        self._hdr = HdrHistogram(LOWEST_NS, HIGHEST_NS, _DIGITS)
        self._clamped = 0

    @classmethod
    def from_ns(cls, values: NDArray[np.integer]) -> "LatencyHistogram":
        """All of ``values``, nanoseconds of shape (n,). What lies out of range is moved to its end, and counted."""
        histogram = cls()
        for start in range(0, len(values), _CHUNK):
            histogram._record(values[start : start + _CHUNK])
        return histogram

    @classmethod
    def merge(cls, histograms: Iterable["LatencyHistogram"]) -> "LatencyHistogram":
        """One that holds the values of all, as if they had been recorded together. None gives an empty one."""
        merged = cls()
        for each in histograms:
            lows, _, counts = each._recorded()
            for value, count in zip(lows.tolist(), counts.tolist(), strict=True):
                merged._hdr.record_value(value, count)
            merged._clamped += each._clamped
        return merged

    @classmethod
    def decode(cls, text: str) -> "LatencyHistogram":
        """The histogram that `encode` wrote; `NightbenchError` if ``text`` is not one of ours, or damaged."""
        histogram = cls()
        try:
            hdr = HdrHistogram.decode(text)
        except (
            HdrCookieException,
            HdrHistogramSettingsException,
            HdrLengthException,
            IndexError,
            MemoryError,
            OverflowError,
            ValueError,
            binascii.Error,
            zlib.error,
        ) as error:
            raise NightbenchError(f"not a latency histogram: {error or type(error).__name__}") from error
        settings = hdr.lowest_trackable_value, hdr.highest_trackable_value, hdr.significant_figures
        if settings != (LOWEST_NS, HIGHEST_NS, _DIGITS):
            raise NightbenchError(f"a histogram of range and digits {settings} is not one of nightbench's")
        histogram._hdr = hdr
        return histogram

    def encode(self) -> str:
        """HdrHistogram V2, compressed, in base64."""
        encoded: bytes = self._hdr.encode()
        return encoded.decode("ascii")

    @property
    def count(self) -> int:
        return int(self._hdr.total_count)

    @property
    def clamped(self) -> int:
        """How many values were out of range. The text format has no place for it: 0 after `decode`."""
        return self._clamped

    def quantile_ns(self, q: float) -> int:
        """The highest value, to three digits, of the bucket in which a share ``q`` of the values is reached.

        ``q`` from 0 to 1; 0 for an empty histogram.
        """
        if not 0.0 <= q <= 1.0:
            raise ValueError(f"a quantile's level must lie in [0, 1], not {q}")
        _, highs, counts = self._recorded()
        if not len(counts):
            return 0
        return int(highs[_reached(counts, np.array([q]))[0]])

    def curve(self, points: int) -> list[tuple[float, float]]:
        """The distribution as ``points`` pairs of (share of values, ns at or below), even on an axis of nines.

        Shares go from 0 to the last that the count can show, 1 - 1/count, and then to 1, the largest value.
        Empty for an empty histogram.
        """
        _, highs, counts = self._recorded()
        if not len(counts) or points < 1:
            return []
        shares = np.append(-np.expm1(-np.linspace(0.0, np.log(self.count), max(points - 1, 0))), 1.0)
        return list(zip(shares.tolist(), highs[_reached(counts, shares)].astype(float).tolist(), strict=True))

    def buckets(self, edges_ns: ArrayLike) -> NDArray[np.int64]:
        """Counts between neighbouring ``edges_ns``, rising, of shape (m,); the result has m - 1: a heat map's column.

        A bucket of ours counts where its middle lies; what lies outside all edges is left out.
        """
        lows, highs, counts = self._recorded()
        totals, _ = np.histogram((lows + highs) / 2.0, bins=np.asarray(edges_ns, dtype=np.float64), weights=counts)
        return np.asarray(np.rint(totals), dtype=np.int64)

    def _record(self, values: NDArray[np.integer]) -> None:
        inside = np.clip(values, LOWEST_NS, HIGHEST_NS).astype(np.int64)
        self._clamped += int(np.count_nonzero(inside != values))
        # One call a bucket instead of one a value: drop the bits below each value's resolution, then count.
        _, bit_length = np.frexp(inside.astype(np.float64))
        shift = np.maximum(bit_length - self._hdr.sub_bucket_count.bit_length() + 1, 0)
        buckets, counts = np.unique((inside >> shift) << shift, return_counts=True)
        for value, count in zip(buckets.tolist(), counts.tolist(), strict=True):
            self._hdr.record_value(value, count)

    def _recorded(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Lowest and highest value and count of every bucket that is not empty."""
        counts = np.frombuffer(self._hdr.counts, dtype=np.uint64).astype(np.int64)
        index = np.flatnonzero(counts)
        half = self._hdr.sub_bucket_half_count
        # The first two halves share a resolution of 1; from then on each half is twice as coarse as the last.
        shift = np.maximum(index // half - 1, 0)
        lows = (index - shift * half) << shift
        return lows, lows + (1 << shift) - 1, counts[index]


def _reached(counts: NDArray[np.int64], shares: NDArray[np.float64]) -> NDArray[np.intp]:
    """Index of the first bucket at which each share of all values is reached."""
    cumulative = np.cumsum(counts)
    # Below the rounding error of a share times a count, 0.07 of 100 values is 7 and not 7.000000000000001.
    wanted = np.ceil(shares * float(cumulative[-1]) * (1.0 - 1e-12))
    return np.searchsorted(cumulative, np.clip(wanted, 1, cumulative[-1]))
