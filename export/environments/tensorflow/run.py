"""Answers from a SavedModel. Runs in this folder's own environment, imports nothing of nightbench.

``run.py FOLDER THREADS``. Standard input and output carry messages of `multiprocessing.connection`, of bytes and never
of pickles: first a letter, then what it says. ``A``: arrays by name, as an .npz; ``E``: an error, one sentence. The
first message, an ``A`` without arrays, says that it is ready. It ends with its standard input.
"""

import io
import os
import sys
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection

import numpy as np


def packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    into = io.BytesIO()
    np.savez(into, **arrays)
    return b"A" + into.getvalue()


def unpacked(message: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(message[1:]), allow_pickle=False) as file:
        return dict(file)


def failed(error: Exception) -> bytes:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return b"E" + f"{type(error).__name__}: {lines[0] if lines else ''}".encode()


def opened(folder: str, threads: int) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """In a session, as TensorFlow Serving does: `tf.saved_model.load` held 7.5 GiB for BERT base, a session 5.4."""
    import tensorflow as tf

    v1 = tf.compat.v1
    config = v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=1)
    session = v1.Session(graph=tf.Graph(), config=config)
    signature = v1.saved_model.load(session, [tf.saved_model.SERVING], folder).signature_def["serving_default"]
    feeds = {name: told.name for name, told in signature.inputs.items()}
    fetches = {name: told.name for name, told in signature.outputs.items()}
    return lambda inputs: session.run(fetches, {feeds[name]: array for name, array in inputs.items()})


def main(folder: str, threads: int, asked: Connection, answered: Connection) -> None:
    try:
        run = opened(folder, threads)
    except Exception as error:  # noqa: BLE001  whatever it is, it is the answer
        answered.send_bytes(failed(error))
        return
    answered.send_bytes(packed({}))
    while True:
        try:
            inputs = unpacked(asked.recv_bytes())
        except EOFError:
            return
        try:
            message = packed(run(inputs))
        except Exception as error:  # noqa: BLE001  likewise
            message = failed(error)
        answered.send_bytes(message)


if __name__ == "__main__":
    answers = Connection(os.dup(1), readable=False)
    os.dup2(2, 1)  # C++ libraries print too
    main(sys.argv[1], int(sys.argv[2]), Connection(os.dup(0), writable=False), answers)
