"""A night's cells and starts lend each other what they know of spread, where they may."""

from dataclasses import replace

import numpy as np

from nightbench.figures import Estimate
from nightbench.load import ClosedLoop, Load, OpenLoop
from nightbench.record import MeasurementRecord
from nightbench.stats.combine import combine
from nightbench.summary import summarise
from tests.nightbench.summarised import ALONE, STARTED, case, deployed, measured, width


def _night(servers: int, load: Load = ALONE) -> list[MeasurementRecord]:
    """Two rounds of each server, 3 % apart or so."""
    draw = np.random.default_rng(1)
    return [
        measured(
            f"s{at}",
            number,
            case(f"s{at}", load),
            Estimate(float(100 * factor), float(99.9 * factor), float(100.1 * factor)),
            {"p50": Estimate(float(4e6 / factor), float(3.99e6 / factor), float(4.01e6 / factor))},
        )
        for at in range(servers)
        for number, factor in enumerate(np.exp(0.03 * draw.standard_normal(2)), 1)
    ]


def test_many_servers_together_know_their_two_rounds_better() -> None:
    records = _night(12)
    alone = {key: combine([r.throughput_rps for r in records if r.case.server == key]) for key in ("s0", "s1", "s2")}
    cells = {cell.cell_key: cell for cell in summarise([STARTED, *records]).cells}
    assert np.median([width(cell.throughput_rps) for cell in cells.values()]) < 0.2
    assert np.median([width(cell.latency_ns["p50"]) for cell in cells.values()]) < 0.2
    for key, plain in alone.items():
        found = cells[key].throughput_rps
        assert found is not None
        assert found.value == plain.value
    assert sum(width(cells[key].throughput_rps) for key in alone) < sum(width(plain) for plain in alone.values())


def test_loads_of_one_server_are_no_independent_witnesses() -> None:
    """Eight cells of one server share its two starts: nobody can tell how much starts differ."""
    records = [replace(record, case=case("triton", ClosedLoop(1 + at // 2))) for at, record in enumerate(_night(8))]
    for cell in summarise([STARTED, *records]).cells:
        assert cell.throughput_rps == combine([record.throughput_rps for record in cell.measurements])


def test_open_and_closed_loops_do_not_lend_each_other_their_spread() -> None:
    closed = _night(3)
    opened = [replace(record, cell_id=f"o{record.cell_id}") for record in _night(3, OpenLoop(20.0))]
    for cell in summarise([STARTED, *closed, *opened]).cells:
        assert cell.throughput_rps == combine([record.throughput_rps for record in cell.measurements])


def test_a_quantile_without_bounds_borrows_no_certainty() -> None:
    records = _night(12)
    stalled = [
        replace(record, latency_ns={"p50": Estimate(record.latency_ns["p50"].value)})
        if record.case.server == "s0"
        else record
        for record in records
    ]
    cell = next(cell for cell in summarise([STARTED, *stalled]).cells if cell.server == "s0")
    assert cell.latency_ns["p50"] == combine([record.latency_ns["p50"] for record in cell.measurements])
    assert width(cell.service_ns["p50"]) != width(cell.latency_ns["p50"])


def test_starts_of_many_setups_are_known_better_together() -> None:
    draw = np.random.default_rng(2)
    starts = [
        deployed(f"s{at}", number, float(2.0 * np.exp(0.05 * draw.standard_normal())))
        for at in range(12)
        for number in (1, 2)
    ]
    alone = [
        combine([Estimate(float(each.cold_start_ns or 0)) for each in starts[at : at + 2]]) for at in range(0, 24, 2)
    ]
    found = [each.cold_start_ns for each in summarise([STARTED, *starts]).deployments]
    assert np.median([width(each) for each in found]) < 0.6 * np.median([width(each) for each in alone])
