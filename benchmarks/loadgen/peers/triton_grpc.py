"""tritonclient.grpc: one client and its one connection, a thread for each request in flight."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput

from benchmarks.loadgen.peers.looping import Load, program

__all__ = ["send"]


def send(load: Load) -> None:
    values = np.zeros((1, load.body_bytes // 4), np.float32)
    end = time.monotonic() + load.seconds
    with (
        InferenceServerClient(f"127.0.0.1:{load.port}") as client,
        ThreadPoolExecutor(load.concurrency) as threads,
    ):

        def work(_: int) -> None:
            while time.monotonic() < end:
                tensor = InferInput("x", list(values.shape), "FP32")
                tensor.set_data_from_numpy(values)
                client.infer("null", [tensor])

        list(threads.map(work, range(load.concurrency)))


if __name__ == "__main__":
    program(send)
