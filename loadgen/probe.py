"""Readiness as users would see it: one real prediction whose answer is the reference's."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from loadgen.job import Job
from loadgen.pool import Pool
from loadgen.protocols import codec_for
from loadgen.protocols.exchange import exchange
from loadgen.run import run_job
from loadgen.verify import strays
from nightbench.errors import NightbenchError
from nightbench.load import ClosedLoop
from nightbench.model import InputPool, TensorSpec, Tolerance
from nightbench.samples import Outcome
from nightbench.server import Endpoint, ProbeResult, ProbeStatus, Protocol
from nightbench.stopping import Stopped, never

__all__ = ["PoolProber"]


class PoolProber:
    """Asks for the pool's first item. Implements `nightbench.server.Prober`."""

    def __init__(
        self,
        pool: InputPool,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        tolerance: Tolerance,
        *,
        env: Mapping[str, str] | None = None,
        should_stop: Callable[[], bool] = never,
        workdir_root: Path | None = None,
    ) -> None:
        """Reads the pool; `NightbenchError` if it does not hold these tensors.

        The rest is for the load engine that probes a model in-process, as `loadgen.run.run_job` takes it. Once
        ``should_stop`` turns true, that probe ends and the answer is "not yet".
        """
        self._path = pool.path
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)
        self._tolerance = tolerance
        self._pool = Pool.read(pool.path, inputs, outputs)
        self._env = dict(env or {})
        self._should_stop = should_stop
        self._workdir_root = workdir_root

    def __call__(self, endpoint: Endpoint, timeout_s: float) -> ProbeResult:
        if endpoint.protocol is Protocol.IN_PROCESS:
            return self._probe_in_process(endpoint, timeout_s)
        codec = codec_for(endpoint, self._inputs, self._outputs, 1)
        try:
            request = codec.prepare(self._pool.request(0, 1))
            reply = exchange(codec.wire(), request, endpoint.host, endpoint.port, timeout_s)
            if reply.outcome is not Outcome.OK:
                return ProbeResult(ProbeStatus.NOT_YET, f"{reply.outcome.label}: {reply.detail}")
            why = strays(codec.decode(reply.body), self._pool.expected(0, 1), self._tolerance, self._pool.scales())
        except (NightbenchError, OSError) as error:
            # Shared memory that the server does not take, or the machine does not have.
            return ProbeResult(ProbeStatus.NOT_YET, str(error))
        except ValueError as error:
            why = f"the answer cannot be read: {error}"
        finally:
            codec.close()
        return ProbeResult(ProbeStatus.WRONG, why) if why is not None else ProbeResult(ProbeStatus.READY)

    def _probe_in_process(self, endpoint: Endpoint, timeout_s: float) -> ProbeResult:
        deadline = time.monotonic() + timeout_s
        with tempfile.TemporaryDirectory(
            prefix="nightbench-probe-", dir=self._workdir_root, ignore_cleanup_errors=True
        ) as folder:
            job = Job(
                endpoint=endpoint,
                load=ClosedLoop(1),
                batch=1,
                inputs=self._inputs,
                outputs=self._outputs,
                pool=self._path,
                tolerance=self._tolerance,
                duration_s=timeout_s,
                samples=Path(folder) / "samples.npz",
                timeout_s=timeout_s,
                verify_every=1,
                max_requests=1,
            )
            try:
                result = run_job(
                    job,
                    should_stop=lambda: self._should_stop() or time.monotonic() > deadline,
                    env=self._env,
                    workdir_root=Path(folder),
                )
            except Stopped:
                early = time.monotonic() <= deadline
                detail = "told to stop" if early else f"no answer within {timeout_s:g} s"
                return ProbeResult(ProbeStatus.NOT_YET, detail)
        if result.wrong:
            status = ProbeStatus.WRONG
        elif result.outcomes.get(Outcome.OK.label):
            status = ProbeStatus.READY
        else:
            # A fresh process with the same model would fail in the same way.
            status = ProbeStatus.FAILED
        return ProbeResult(status, result.error or result.detail, result.model_load_ns, result.rss_bytes)
