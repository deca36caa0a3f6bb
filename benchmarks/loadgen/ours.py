"""The engine as the pipeline runs it, in a process of its own, against the benchmarks' server."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadgen.job import Job, JobResult, Pacing
from loadgen.protocols import codec_for
from loadgen.run import run_job
from nightbench.load import Load
from nightbench.model import DType, TensorSpec, Tolerance
from nightbench.samples import Samples
from nightbench.server import Endpoint, Protocol

__all__ = ["Bench", "grpc_message"]

_SEED = 1


@dataclass(frozen=True, slots=True)
class Bench:
    """Where to send, from where, and a folder for files."""

    port: int
    client_cpus: tuple[int, ...] | None
    workdir: Path

    def endpoint(self, protocol: Protocol) -> Endpoint:
        return Endpoint(protocol, "127.0.0.1", self.port, "null")

    def measure(
        self, protocol: Protocol, body_bytes: int, load: Load, seconds: float, pacing: Pacing | None = None
    ) -> tuple[JobResult, Samples]:
        """One cell with one input, as the other clients send one body; its answers are not compared with anything."""
        spec = _tensor("x", body_bytes)
        pool = self.workdir / f"pool-{body_bytes}.npz"
        if not pool.exists():
            zeros = np.zeros((1, *spec.shape), "<f4")
            np.savez(pool, **{"in.x": zeros, "out.y": zeros})
        job = Job(
            endpoint=self.endpoint(protocol),
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
            pacing=pacing,
        )
        result = run_job(job)
        if result.error is not None or set(result.outcomes) != {"ok"}:
            raise RuntimeError(f"the engine's run failed: {result.error or result.detail}")
        return result, Samples.load(job.samples)


def _tensor(name: str, body_bytes: int) -> TensorSpec:
    return TensorSpec(name, DType.FP32, (body_bytes // 4,))


def grpc_message(port: int, body_bytes: int) -> bytes:
    """What the engine sends as a gRPC message, its prefix included: for clients that are given bytes."""
    spec = _tensor("x", body_bytes)
    endpoint = Endpoint(Protocol.KSERVE_GRPC, "127.0.0.1", port, "null")
    codec = codec_for(endpoint, (spec,), (_tensor("y", body_bytes),), 1)
    message: bytes = codec.prepare({"x": np.zeros((1, *spec.shape), "<f4")}).message
    return message
