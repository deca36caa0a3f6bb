"""How many requests a server says it served: the counter of each server that keeps one, and what it counts.

From the servers' own lists of metrics: Triton "Metrics" (user guide), vLLM "Production Metrics", MLServer "Metrics",
OpenVINO Model Server "Metrics", TorchServe "Metrics", BentoML "Metrics", KServe "Prometheus Metrics"; TensorFlow
Serving servables/tensorflow/util.cc. All count requests: a batch is one. Ray Serve has such counters too, but
publishes them every ten seconds, too late for a cell.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from loadgen.sources.prometheus import Metric
from nightbench.witness import Served

__all__ = ["requests", "served"]


@dataclass(frozen=True, slots=True)
class _Counter:
    """A counter of requests for inference. Only lines whose labels have one of the values in ``where`` count."""

    name: str
    model_label: str | None
    """The label that names the model; ``None`` where a server has one model and no such label."""
    failed_too: bool = False
    """Whether it may count requests that were not answered well."""
    where: Mapping[str, frozenset[str]] = field(default_factory=dict)


_COUNTERS = (
    # Triton. A hit of the response cache counts, unlike in nv_inference_count, which counts a batch's items as well.
    _Counter("nv_inference_request_success", "model"),
    _Counter("predict_requests", None),  # FastAPI, ours
    # An aborted request counts under a reason of its own.
    _Counter("vllm:request_success", "model_name", where={"finished_reason": frozenset({"stop", "length"})}),
    _Counter("model_infer_request_success", "model"),  # MLServer
    _Counter(
        "ovms_requests_success",  # OpenVINO Model Server counts requests for metadata here too
        "name",
        where={"method": frozenset({"ModelInfer", "Predict"})},
    ),
    _Counter(":tensorflow:serving:request_count", "model_name", where={"status": frozenset({"OK"})}),
    _Counter("ts_inference_requests", "model_name", failed_too=True),  # TorchServe
    _Counter("request_predict_seconds_count", "model_name", failed_too=True),  # KServe's Python server
    _Counter("bentoml_service_request", None, where={"http_response_code": frozenset({"200"})}),
)


def requests(page: Iterable[Metric], model: str | None = None) -> dict[str, float]:
    """The known counters on a page, summed over versions; one that is not there, or not for ``model``, is absent."""
    found: dict[str, float] = {}
    for metric in page:
        for counter in _COUNTERS:
            if metric.name == counter.name and _counts(metric, counter, model):
                found[counter.name] = found.get(counter.name, 0.0) + metric.value
    return found


def served(before: Mapping[str, float], after: Mapping[str, float]) -> Served | None:
    """What was served between two readings of `requests`; ``None`` where no counter tells.

    A counter that was not there before is no zero: a server's readiness was proven by a prediction, so that one which
    counts has counted. One that ran backwards was started anew.
    """
    for counter in _COUNTERS:
        if counter.name in before and after.get(counter.name, -1.0) >= before[counter.name]:
            return Served(round(after[counter.name] - before[counter.name]), counter.failed_too)
    return None


def _counts(metric: Metric, counter: _Counter, model: str | None) -> bool:
    if model is not None and counter.model_label is not None and metric.labels.get(counter.model_label) != model:
        return False
    return all(metric.labels.get(label) in values for label, values in counter.where.items())
