"""The engine as the pipeline runs it, in a process of its own, against the benchmarks' server."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.server import Server
from loadgen.job import Job, JobResult
from loadgen.protocols import codec_for
from loadgen.run import run_job
from nightbench.assess import Assessed, assess
from nightbench.load import Step
from nightbench.model import DType, TensorSpec, Tolerance
from nightbench.samples import Samples
from nightbench.server import Endpoint, Protocol

__all__ = ["Bench", "figures", "grpc_message"]

_SEED = 1


@dataclass(frozen=True, slots=True)
class Bench:
    """Where to send, from where, and a folder for files."""

    server: Server
    client_cpus: tuple[int, ...] | None
    workdir: Path

    @property
    def port(self) -> int:
        return self.server.port

    def job(self, protocol: Protocol, body_bytes: int, load: Step, seconds: float) -> Job:
        """One cell with one input, as the other clients send one body; its answers are not compared with anything."""
        spec = _tensor("x", body_bytes)
        pool = self.workdir / f"pool-{body_bytes}.npz"
        if not pool.exists():
            zeros = np.zeros((1, *spec.shape), "<f4")
            arrays: dict[str, Any] = {"in.x": zeros, "out.y": zeros}
            np.savez(pool, **arrays)
        return Job(
            endpoint=Endpoint(protocol, "127.0.0.1", self.port, "null"),
            load=load,
            batch=1,
            inputs=(spec,),
            outputs=(_tensor("y", body_bytes),),
            pool=pool,
            tolerance=Tolerance(0.0, 0.0),
            duration_s=seconds,
            samples=self.workdir / "samples.npz",
            seed=_SEED,
            verify_every=0,
            cpus=self.client_cpus,
        )

    def measure(self, job: Job, on_start: Callable[[int], None] = lambda _: None) -> tuple[JobResult, Samples]:
        """`RuntimeError` unless every answer was good."""
        result = run_job(replace(job, samples=job.samples.absolute()), on_start=on_start)
        if result.error is not None or set(result.outcomes) != {"ok"}:
            raise RuntimeError(f"the engine's run failed: {result.error or result.detail or result.outcomes}")
        return result, Samples.load(job.samples)


def figures(job: Job, result: JobResult, samples: Samples) -> Assessed:
    """What a night would store of such a cell, on a machine of its own."""
    return assess(
        samples,
        job.load,
        started_ns=result.started_ns,
        ended_ns=result.ended_ns,
        min_warmup_ns=round(job.min_warmup_s * 1e9),
        client_cpu_ns=result.client_cpu_ns,
        verified=result.verified,
        wrong=result.wrong,
        duration_s=job.duration_s,
        server_died=False,
        ended_by=result.ended_by,
        sending_ended_ns=result.sending_ended_ns,
    )


def _tensor(name: str, body_bytes: int) -> TensorSpec:
    return TensorSpec(name, DType.FP32, (body_bytes // 4,))


def grpc_message(port: int, body_bytes: int) -> bytes:
    """What the engine sends as a gRPC message, its prefix included: for clients that are given bytes."""
    spec = _tensor("x", body_bytes)
    endpoint = Endpoint(Protocol.KSERVE_GRPC, "127.0.0.1", port, "null")
    codec = codec_for(endpoint, (spec,), (_tensor("y", body_bytes),), 1)
    message: bytes = codec.prepare({"x": np.zeros((1, *spec.shape), "<f4")}).message
    return message
