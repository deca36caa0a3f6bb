"""tritonclient.grpc: one client and its one connection, a thread for each request in flight."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput

from benchmarks.loadgen.peers.counting import WARM_UP, Count, Load, report

__all__ = ["measure"]


def measure(load: Load) -> Count:
    values = np.zeros((1, load.body_bytes // 4), np.float32)
    with (
        InferenceServerClient(f"127.0.0.1:{load.port}") as client,
        ThreadPoolExecutor(load.concurrency) as threads,
    ):

        def request() -> None:
            tensor = InferInput("x", list(values.shape), "FP32")
            tensor.set_data_from_numpy(values)
            client.infer("null", [tensor])

        def warm(_: int) -> None:
            for _ in range(WARM_UP):
                request()

        def work(end: float) -> int:
            requests = 0
            while time.monotonic() < end:
                request()
                requests += 1
            return requests

        list(threads.map(warm, range(load.concurrency)))
        with Count() as count:
            count.requests = sum(threads.map(work, [time.monotonic() + load.seconds] * load.concurrency))
        return count


if __name__ == "__main__":
    report(measure)
