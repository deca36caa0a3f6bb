"""A series goes on under another name only where there is no doubt which."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from nightbench.judge.succession import successions
from nightbench.load import ClosedLoop
from nightbench.model import Format, Precision
from nightbench.record import Case
from nightbench.server import Protocol

CASE = Case(
    *("resnet", 1, "old", Format.ONNX, Precision.FP32, "triton", {"queue": 8}, Protocol.RAW_HTTP),
    *(1, ClosedLoop(4), 1, "2 cpus", 1),
)
NEW = replace(CASE, artifact_sha256="new")
OTHER = replace(CASE, options={"queue": 9})


def _named(*cases: Case) -> dict[str, Case]:
    return {case.fingerprint: case for case in cases}


def test_a_new_artifact_new_options_or_both_go_on() -> None:
    for after in (NEW, OTHER, replace(OTHER, artifact_sha256="new")):
        assert successions(_named(CASE), _named(after)) == {after.fingerprint: CASE.fingerprint}


def test_anything_else_is_another_experiment() -> None:
    others = [
        replace(NEW, **change)  # type: ignore[arg-type]
        for change in (
            {"server": "onnxruntime"},
            {"model": "bert"},
            {"model_version": 2},
            {"format": Format.OPENVINO},
            {"precision": Precision.INT8},
            {"protocol": Protocol.KSERVE_GRPC},
            {"batch": 2},
            {"load": ClosedLoop(8)},
            {"threads": 2},
            {"hardware": "4 cpus"},
            {"version": 2},
        )
    ]
    assert successions(_named(CASE), _named(*others)) == {}


def test_setups_that_differ_by_their_options_go_on_as_themselves() -> None:
    new_other = replace(OTHER, artifact_sha256="new")
    assert successions(_named(CASE, OTHER), _named(NEW, new_other)) == {
        NEW.fingerprint: CASE.fingerprint,
        new_other.fingerprint: OTHER.fingerprint,
    }


def test_two_candidates_are_none() -> None:
    third = replace(CASE, artifact_sha256="third")
    assert successions(_named(CASE, third), _named(NEW)) == {}
    assert successions(_named(CASE), _named(NEW, third)) == {}


def test_nothing_vanished_or_nothing_new_is_no_succession() -> None:
    assert successions({}, _named(NEW)) == successions(_named(CASE), {}) == {}


_cases = st.lists(
    st.builds(
        lambda sha, queue, batch: replace(CASE, artifact_sha256=sha, options={"queue": queue}, batch=batch),
        *(st.sampled_from("abc"), st.integers(0, 2), st.integers(1, 2)),
    ),
    max_size=6,
).map(lambda cases: _named(*cases))


@given(_cases, _cases)
def test_each_has_one_successor_at_most_and_both_sides_agree(before: dict[str, Case], after: dict[str, Case]) -> None:
    gone = {name: case for name, case in before.items() if name not in after}
    new = {name: case for name, case in after.items() if name not in before}
    found = successions(gone, new)
    assert set(found) <= set(new)
    assert set(found.values()) <= set(gone)
    assert len(set(found.values())) == len(found)
    assert all(gone[old].batch == new[name].batch for name, old in found.items())
    backwards = successions(new, gone)
    assert {name: old for old, name in backwards.items()} == found
