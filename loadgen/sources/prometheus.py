"""A server's Prometheus page, read once: what it counts, with the labels it counts by."""

from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from urllib.request import ProxyHandler, build_opener

from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Metric", "metrics", "scrape"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One line of a page."""

    name: str
    """Without the suffix ``_total``, which some servers give their counters and the parser gives to all."""
    labels: Mapping[str, str]
    value: float


def scrape(url: str, timeout_s: float = 2.0) -> tuple[Metric, ...]:
    """What stands at ``url``; nothing where there is no such page."""
    if not url.startswith("http://"):
        return ()
    try:
        # A proxy from the environment must not come between us and the loopback.
        with build_opener(ProxyHandler({})).open(url, timeout=timeout_s) as answer:
            return metrics(answer.read().decode(errors="replace"))
    except (OSError, ValueError, HTTPException):
        return ()


def metrics(text: str) -> tuple[Metric, ...]:
    """The samples in Prometheus text; `ValueError` if it is no such text."""
    return tuple(
        Metric(sample.name.removesuffix("_total"), sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    )
