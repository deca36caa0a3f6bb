"""Each server answers what PyTorch answers, over every protocol and from every format, to one and to many at once."""

from nightbench.server import Protocol
from tests.conformance.checks import check
from tests.conformance.subject import POOL_COUNT, Subject, assert_all_right

CONCURRENT = 8
REQUESTS = 160


@check("starts")
def test_it_starts_and_is_ready(subject: Subject) -> None:
    deployment = subject.first.deployment
    assert set(deployment.endpoints) == set(subject.spec.protocols)
    assert deployment.server_version == subject.environment.version
    assert (deployment.rss_bytes or 0) > 0
    if not subject.spec.in_process:
        assert deployment.model_load_ns is None or 0 < deployment.model_load_ns < (deployment.cold_start_ns or 0)


@check("answers")
def test_its_answers_are_those_of_pytorch(subject: Subject, protocol: Protocol) -> None:
    for batch in subject.batches:
        assert_all_right(subject.loaded(subject.endpoint(protocol), batch), POOL_COUNT)


@check("answers")
def test_so_are_they_from_its_other_formats(subject: Subject) -> None:
    others = [each for each in subject.spec.formats if each is not subject.format and each in subject.model.formats]
    for format_ in others:
        with subject.launched(format_=format_) as other:
            protocol = next(iter(subject.spec.protocols))
            for batch in subject.batches:
                assert_all_right(subject.loaded(other.deployment.endpoints[protocol], batch), POOL_COUNT)


@check("concurrency")
def test_concurrent_requests_never_mix_their_answers(subject: Subject, protocol: Protocol) -> None:
    assert_all_right(subject.loaded(subject.endpoint(protocol), 1, CONCURRENT, REQUESTS), REQUESTS)
