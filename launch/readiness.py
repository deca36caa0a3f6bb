"""Waiting for a server to answer correctly: a health URL proves too little."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from launch.logs import log_tail
from nightbench.errors import DeploymentError
from nightbench.server import Endpoint, Prober, ProbeStatus, Protocol
from nightbench.stopping import Stopped

__all__ = ["Waiting"]

_PAUSE_S = 0.02
_PROBE_TIMEOUT_S = 10.0


class Waiting:
    """One server's time to get ready, from its start to ``timeout_s`` later."""

    def __init__(
        self,
        name: str,
        timeout_s: float,
        prober: Prober,
        check_alive: Callable[[], None],
        check_ours: Callable[[Endpoint], None],
        should_stop: Callable[[], bool],
        log_path: Path,
    ) -> None:
        self._name = name
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s
        self._prober = prober
        self._check_alive = check_alive
        self._check_ours = check_ours
        self._should_stop = should_stop
        self._log_path = log_path

    def until_ready(self, endpoint: Endpoint) -> int:
        """Probe until the first right answer; when it came, in monotonic nanoseconds.

        An answer counts, right or wrong, once the server is known to live and to be the one that gave it. Raises
        `DeploymentError` (``wrong_answer``, ``not_ready``, ``died``, or what the checks raise) or `Stopped`.
        """
        detail = "it was never asked"
        while (left_s := self._deadline - time.monotonic()) > 0:
            if self._should_stop():
                raise Stopped(f"stopped while {self._name} was starting")
            self._check_alive()
            result = self._prober(endpoint, min(left_s, _PROBE_TIMEOUT_S))
            now_ns = time.monotonic_ns()
            if result.status is not ProbeStatus.NOT_YET:
                self._check_alive()
                self._check_ours(endpoint)
            if result.status is ProbeStatus.READY:
                return now_ns
            if result.status is ProbeStatus.WRONG:
                raise DeploymentError("wrong_answer", result.detail, log_tail(self._log_path))
            if result.status is ProbeStatus.FAILED:
                raise DeploymentError("died", result.detail, log_tail(self._log_path))
            detail = result.detail or detail
            time.sleep(_PAUSE_S)
        raise DeploymentError(
            "not_ready",
            f"no right answer over {endpoint.protocol} within {self._timeout_s:g} s; last: {detail}",
            log_tail(self._log_path),
        )

    def until_all_ready(self, endpoints: Mapping[Protocol, Endpoint]) -> int:
        """Wait for every protocol; when the first of them was answered."""
        first_ns, *_ = [self.until_ready(endpoint) for endpoint in endpoints.values()]
        return first_ns
