"""The night of `conftest`, as it would be in containers, on a GPU, and with its batch size swept."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from nightbench.figures import Estimate, Series
from nightbench.load import ClosedLoop
from nightbench.record import DeploymentRecord, MeasurementRecord, Record
from nightbench.server import Protocol

DIGEST = "sha256:" + "3f" * 32
SIZES = (1, 4, 8, 16, 32)


def in_containers(records: Iterable[Record]) -> Iterator[Record]:
    """Every server but the in-process floor."""
    for record in records:
        if isinstance(record, DeploymentRecord) and record.server != "pytorch":
            yield replace(
                record, launcher="docker", image=f"nightbench/{record.server}:0d9c5c2a9f3e", image_digest=DIGEST
            )
        elif isinstance(record, MeasurementRecord) and record.case.protocol is not Protocol.IN_PROCESS:
            yield replace(record, case=replace(record.case, launcher="docker"))
        else:
            yield record


def on_gpu(records: Iterable[Record]) -> Iterator[Record]:
    """Two GPUs, of which the second idles; servers tell how long requests wait in them."""
    for record in records:
        if not isinstance(record, MeasurementRecord):
            yield record
            continue
        busy = min(30.0 + 5.0 * record.case.load.size, 95.0)
        series = (
            Series("server", "cpu_percent", (0, 500), (40.0, 60.0)),
            Series("server", "rss_bytes", (0, 500), (500 * 2**20, 700 * 2**20)),
            Series("server", "triton_queue_us_per_request", (500,), (12.5,)),
            Series("gpu0", "utilisation_percent", (0, 500), (busy - 1, busy + 1)),
            Series("gpu0", "memory_bytes", (0, 500), (2.0 * 2**30, 3.0 * 2**30)),
            Series("gpu0", "power_w", (0, 500), (180.0, 220.0)),
            Series("gpu1", "utilisation_percent", (0, 500), (0.0, 0.0)),
        )
        yield replace(record, telemetry=series)


def over_batches(records: Iterable[Record]) -> Iterator[Record]:
    """Each measured cell with one request in flight at every size; a batch of n takes as long as n ** 0.7."""
    for record in records:
        if not isinstance(record, MeasurementRecord) or record.case.load != ClosedLoop(1):
            yield record
            continue
        for size in SIZES:
            slower = size**0.7
            cell, dot, number = record.cell_id.partition(".")
            yield replace(
                record,
                cell_id=f"{cell}-b{size}{dot}{number}",
                case=replace(record.case, batch=size),
                throughput_rps=times(record.throughput_rps, 1 / slower),
                latency_ns={name: times(each, slower) for name, each in record.latency_ns.items()},
                service_ns={name: times(each, slower) for name, each in record.service_ns.items()},
            )


def times(estimate: Estimate, factor: float) -> Estimate:
    low, high = (None if bound is None else bound * factor for bound in (estimate.low, estimate.high))
    return Estimate(estimate.value * factor, low, high)
