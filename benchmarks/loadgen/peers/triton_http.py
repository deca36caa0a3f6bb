"""tritonclient.http: one client, gevent's greenlets, binary tensors."""

import time

import gevent
import numpy as np
from tritonclient.http import InferenceServerClient, InferInput

from benchmarks.loadgen.peers.looping import Load, program

__all__ = ["send"]


def send(load: Load) -> None:
    client = InferenceServerClient(f"127.0.0.1:{load.port}", concurrency=load.concurrency)
    values = np.zeros((1, load.body_bytes // 4), np.float32)
    end = time.monotonic() + load.seconds

    def work() -> None:
        while time.monotonic() < end:
            tensor = InferInput("x", list(values.shape), "FP32")
            tensor.set_data_from_numpy(values)
            client.infer("null", [tensor])

    gevent.joinall([gevent.spawn(work) for _ in range(load.concurrency)], raise_error=True)
    client.close()


if __name__ == "__main__":
    program(send)
