"""A server that says it joins requests does, once told to, by its own count; and never mixes their answers."""

import time

from loadgen.sources.prometheus import scrape
from nightbench.server import BatchProof
from tests.conformance.checks import check, of
from tests.conformance.subject import Launched, Subject, assert_all_right

CONCURRENT = 16
REQUESTS = 160
PAGE_IS_CURRENT_S = 15.0
"""Some servers gather their figures now and then only."""


@of(lambda spec: spec.batching)
@check("batching")
def test_requests_that_wait_together_run_together(subject: Subject) -> None:
    proof = subject.spec.batch_proof
    assert proof is not None, "the server batches, but its folder names no batch_proof"
    with subject.launched(proof.options) as batching:
        url = _page(subject, batching, proof)
        endpoint = next(iter(batching.deployment.endpoints.values()))
        before = _counts(url, proof)
        assert_all_right(subject.loaded(endpoint, 1, CONCURRENT, REQUESTS), REQUESTS)
        deadline = time.monotonic() + PAGE_IS_CURRENT_S
        while (after := _counts(url, proof))[0] - before[0] < REQUESTS and time.monotonic() < deadline:
            time.sleep(0.2)
    items, executions = (late - early for late, early in zip(after, before, strict=True))
    assert items >= REQUESTS, f"it counts {items:g} inferences, not {REQUESTS}"
    assert 0 < executions < items, f"{items:g} inferences took {executions:g} runs of the model"
    print(f"mean batch {items / executions:.2f}")


def _page(subject: Subject, batching: Launched, proof: BatchProof) -> str:
    if proof.page is None:
        assert batching.deployment.metrics_url is not None, "neither the proof nor the server names a metrics page"
        return batching.deployment.metrics_url
    ports = {name: batching.deployment.endpoints[protocol].port for protocol, name in subject.spec.protocols.items()}
    return f"http://127.0.0.1:{ports[proof.page.port]}{proof.page.path}"


def _counts(url: str, proof: BatchProof) -> tuple[float, float]:
    """Items and executions so far. A counter that has not counted yet may not stand there."""
    page = scrape(url)
    assert page, f"there is no metrics page at {url}"
    names = (proof.items, proof.executions)
    items, executions = (sum(metric.value for metric in page if metric.name == name) for name in names)
    return items, executions
