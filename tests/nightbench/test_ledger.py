"""Every nanosecond of a run belongs to exactly one name; what nobody claims is ours."""

import time

import pytest

from nightbench.ledger import Ledger, own_share
from nightbench.load import ClosedLoop
from nightbench.model import Format, Precision
from nightbench.plan import Export, Setup, expand
from nightbench.server import Protocol


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 0
        monkeypatch.setattr(time, "monotonic_ns", lambda: self.now_ns)

    def pass_ns(self, span_ns: int) -> None:
        self.now_ns += span_ns


def test_unclaimed_time_is_ours_and_units_do_not_count_their_inner_units(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    ledger = Ledger()
    clock.pass_ns(5)
    with ledger.unit("deployment"):
        clock.pass_ns(20)
        with ledger.span("deploy"):
            clock.pass_ns(100)
        for _ in range(2):
            with ledger.unit("cell"):
                clock.pass_ns(7)
                ledger.add("measure", 1000)
                clock.pass_ns(1000)
    assert ledger.spent_ns() == {"deploy": 100, "measure": 2000, "ours": 5 + 20 + 14}
    assert ledger.own_ns_per() == {"cell": 7, "deployment": 20}


def test_time_is_charged_although_the_block_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    ledger = Ledger()

    def fail() -> None:
        with ledger.unit("deployment"), ledger.span("deploy"):
            clock.pass_ns(3)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert ledger.spent_ns()["deploy"] == 3
    assert ledger.own_ns_per() == {"deployment": 0}


def test_the_share_of_a_whole_night_follows_from_the_cost_of_its_units() -> None:
    export = Export("m", Format.ONNX, Precision.FP32, "random")
    plan = expand({Setup("s", export, ()): [(Protocol.RAW_HTTP, 1, ClosedLoop(1))]}, rounds=10, seed=0)
    share = own_share({"cell": 1_000_000_000, "deployment": 1_000_000_000}, plan, cell_s=15, start_estimates_s={"s": 3})
    assert share == pytest.approx(20 / (20 + 180))
