"""Triton's own counters, as differences between two scrapes of its Prometheus page.

Counters are described in Triton's user guide, "Metrics". Times are cumulative microseconds over successful requests.
"""

from collections import defaultdict
from collections.abc import Mapping
from http.client import HTTPException
from urllib.request import ProxyHandler, build_opener

from prometheus_client.parser import text_string_to_metric_families

__all__ = ["counters", "figures", "scrape"]

_REQUESTS = "nv_inference_request_success"
_QUEUE_US = "nv_inference_queue_duration_us"
_COMPUTE_US = (
    "nv_inference_compute_input_duration_us",
    "nv_inference_compute_infer_duration_us",
    "nv_inference_compute_output_duration_us",
)
_ITEMS = "nv_inference_count"
_EXECUTIONS = "nv_inference_exec_count"


def scrape(url: str, timeout_s: float = 2.0) -> dict[str, float]:
    """The ``nv_inference_*`` counters at ``url``; empty where there is no such page."""
    if not url.startswith("http://"):
        return {}
    try:
        # A proxy from the environment must not come between us and the loopback.
        with build_opener(ProxyHandler({})).open(url, timeout=timeout_s) as answer:
            return counters(answer.read().decode(errors="replace"))
    except (OSError, ValueError, HTTPException):
        return {}


def counters(text: str) -> dict[str, float]:
    """The ``nv_inference_*`` samples in Prometheus text, summed over models; `ValueError` if it is no such text."""
    totals: defaultdict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("nv_inference_"):
                # The parser gives every counter the suffix of OpenMetrics.
                totals[sample.name.removesuffix("_total")] += sample.value
    return dict(totals)


def figures(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What happened between two scrapes, by metric. A figure whose counters are missing or ran backwards is absent."""
    change = {name: after[name] - before[name] for name in after.keys() & before.keys()}
    if any(value < 0 for value in change.values()):
        return {}
    found: dict[str, float] = {}
    requests = change.get(_REQUESTS)
    if requests is not None:
        found["triton_requests"] = requests
    if requests:
        if _QUEUE_US in change:
            found["triton_queue_us_per_request"] = change[_QUEUE_US] / requests
        if all(name in change for name in _COMPUTE_US):
            found["triton_compute_us_per_request"] = sum(change[name] for name in _COMPUTE_US) / requests
    if change.get(_EXECUTIONS) and _ITEMS in change:
        found["triton_batch_size_mean"] = change[_ITEMS] / change[_EXECUTIONS]
    return found
