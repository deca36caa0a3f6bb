"""Triton's own counters, as differences between two scrapes of its Prometheus page.

They are described in Triton's user guide, "Metrics". Times are cumulative microseconds over successful requests.
Requests count answers from the response cache, and so do queue times; inferences, executions and compute times do
not, so that a cache shows as hits and as a mean batch below the requests' own.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from loadgen.sources.prometheus import Metric

__all__ = ["counters", "figures"]

_REQUESTS = "nv_inference_request_success"
_QUEUE_US = "nv_inference_queue_duration_us"
_COMPUTE_US = (
    "nv_inference_compute_input_duration_us",
    "nv_inference_compute_infer_duration_us",
    "nv_inference_compute_output_duration_us",
)
_ITEMS = "nv_inference_count"
_EXECUTIONS = "nv_inference_exec_count"
_CACHE_HITS = "nv_cache_num_hits_per_model"
_FIRST_PARTS = ("nv_inference_", "nv_cache_")


def counters(page: Iterable[Metric], model: str | None = None) -> dict[str, float]:
    """The counters of ``model`` over its versions, by name; of all models together where it is ``None``.

    The steps of an ensemble count beside the ensemble itself, so that all models together count its requests twice.
    """
    totals: defaultdict[str, float] = defaultdict(float)
    for metric in page:
        if metric.name.startswith(_FIRST_PARTS) and model in {None, metric.labels.get("model")}:
            totals[metric.name] += metric.value
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
    if _CACHE_HITS in change:
        found["triton_cache_hits"] = change[_CACHE_HITS]
    if requests:
        if _QUEUE_US in change:
            found["triton_queue_us_per_request"] = change[_QUEUE_US] / requests
        if all(name in change for name in _COMPUTE_US):
            found["triton_compute_us_per_request"] = sum(change[name] for name in _COMPUTE_US) / requests
    if change.get(_EXECUTIONS) and _ITEMS in change:
        found["triton_batch_size_mean"] = change[_ITEMS] / change[_EXECUTIONS]
    return found
