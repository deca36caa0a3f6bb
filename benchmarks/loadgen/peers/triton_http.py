"""tritonclient.http: one client, gevent's greenlets, binary tensors."""

import time

import gevent
import numpy as np
from tritonclient.http import InferenceServerClient, InferInput

from benchmarks.loadgen.peers.counting import WARM_UP, Count, Load, report

__all__ = ["measure"]


def measure(load: Load) -> Count:
    client = InferenceServerClient(f"127.0.0.1:{load.port}", concurrency=load.concurrency)
    values = np.zeros((1, load.body_bytes // 4), np.float32)

    def request() -> None:
        tensor = InferInput("x", list(values.shape), "FP32")
        tensor.set_data_from_numpy(values)
        client.infer("null", [tensor])

    def warm() -> None:
        for _ in range(WARM_UP):
            request()

    def work() -> None:
        while time.monotonic() < end:
            request()
            count.requests += 1

    gevent.joinall([gevent.spawn(warm) for _ in range(load.concurrency)], raise_error=True)
    with Count() as count:
        end = time.monotonic() + load.seconds
        gevent.joinall([gevent.spawn(work) for _ in range(load.concurrency)], raise_error=True)
    client.close()
    return count


if __name__ == "__main__":
    report(measure)
