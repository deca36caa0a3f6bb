"""TorchScript behind TorchServe. Runs in TorchServe's workers and imports nothing of nightbench."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from ts.context import Context

Model = Callable[[list[np.ndarray]], list[np.ndarray]]


class Refused(Exception):
    """A request that does not fit the model, in one sentence for its sender."""


class Layout:
    """The tensors of a body: one after the other, batch axis first, little-endian, C order."""

    def __init__(self, tensors: list[dict]) -> None:
        self.tensors = [(np.dtype(t["dtype"]), tuple(t["shape"])) for t in tensors]
        self.item_bytes = sum(dtype.itemsize * int(np.prod(shape)) for dtype, shape in self.tensors)

    def views(self, body: bytearray, batch: int) -> list[np.ndarray]:
        """The arrays inside ``body``, without a copy."""
        arrays, at = [], 0
        for dtype, shape in self.tensors:
            count = batch * int(np.prod(shape))
            arrays.append(np.frombuffer(body, dtype, count, at).reshape(batch, *shape))
            at += count * dtype.itemsize
        return arrays

    def body(self, arrays: list[np.ndarray]) -> bytes:
        pairs = zip(arrays, self.tensors, strict=True)
        return b"".join(np.ascontiguousarray(array, dtype).data for array, (dtype, _) in pairs)


def load(artifact: str, threads: int) -> Model:
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    model = torch.jit.load(artifact, map_location="cpu").eval()

    def predict(inputs: list[np.ndarray]) -> list[np.ndarray]:
        with torch.inference_mode():
            answer = model(*map(torch.from_numpy, inputs))
        return [tensor.numpy() for tensor in (answer if isinstance(answer, (tuple, list)) else (answer,))]

    return predict


class Served:
    """The model one worker holds, and how requests reach it."""

    def __init__(self, context: "Context") -> None:
        config = context.model_yaml_config["handler"]
        self.inputs, self.outputs = Layout(config["inputs"]), Layout(config["outputs"])
        self.max_batch = config["max_batch"]
        self.joins = context.model_yaml_config["batchSize"] > 1
        artifact = Path(context.system_properties["model_dir"], context.manifest["model"]["serializedFile"])
        started = time.monotonic_ns()
        self.model = load(str(artifact), config["threads"])
        took_ns = time.monotonic_ns() - started
        target = Path(os.environ["NIGHTBENCH_LOAD_TIME"])
        mine = target.with_suffix(f".{os.getpid()}")
        mine.write_text(str(took_ns), encoding="ascii")
        mine.replace(target)  # workers share the path: never a half-written number

    def answers(self, requests: list[dict], context: "Context") -> list[bytes | str]:
        """One a request: a request that does not fit spoils no other in its batch.

        Over gRPC TorchServe drops the status that a handler sets, and would send a refusal as a prediction: only what
        is raised becomes an error, that of the whole batch. So it is raised for a request that is alone, which each is
        unless requests are joined; among others, its prediction is empty, as no right answer is.
        """
        answers: list[bytes | str] = [b""] * len(requests)
        fitting: list[tuple[int, int, list[np.ndarray]]] = []
        for index, request in enumerate(requests):
            headers = context.get_all_request_header(index)
            try:
                batch = self.expected_batch(request, headers)
                fitting.append((index, batch, self.inputs.views(request["body"], batch)))
            except Refused as refusal:
                if over_grpc(headers):
                    if len(requests) == 1:
                        raise prediction_error(str(refusal)) from refusal
                    logging.warning("refused over gRPC: %s", refusal)
                    continue
                context.set_response_status(400, "Bad Request", index)
                context.set_response_content_type(index, "text/plain")
                answers[index] = str(refusal)
        if fitting:
            for (index, _, _), body in zip(fitting, self.bodies(fitting), strict=True):
                context.set_response_content_type(index, "application/octet-stream")
                answers[index] = body
            if self.joins:  # each is a line to print and to parse: 0.02 ms
                context.metrics.add_counter("model_executions_total", 1)
                context.metrics.add_counter("model_requests_total", len(fitting))
        return answers

    def bodies(self, fitting: list[tuple[int, int, list[np.ndarray]]]) -> Iterator[bytes]:
        """Run the model once for all requests, and cut its outputs apart."""
        if len(fitting) == 1:
            yield self.outputs.body(self.model(fitting[0][2]))
            return
        columns = zip(*(arrays for _, _, arrays in fitting), strict=True)
        outputs, at = self.model([np.concatenate(column) for column in columns]), 0
        for _, batch, _ in fitting:
            yield self.outputs.body([output[at : at + batch] for output in outputs])
            at += batch

    def expected_batch(self, request: dict, headers: dict) -> int:
        """The batch size that it promises, in a header or over gRPC in a parameter, if its body is of that size."""
        body, kind = request.get("body"), headers.get("body", {}).get("content-type")
        if over_grpc(headers):
            if body is None:
                raise Refused("the parameter 'body' is missing; send the inputs' bytes in it")
            text = bytes(request.get("X-Batch", b"")).decode("ascii", "replace")
        else:
            if kind != "application/octet-stream" or not isinstance(body, (bytes, bytearray)):
                raise Refused(f"Content-Type is {kind!r}; send application/octet-stream")
            text = next((value for name, value in headers.items() if name.lower() == "x-batch"), "")
        if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= self.max_batch:
            raise Refused(f"X-Batch is {text!r}; send a whole number from 1 to {self.max_batch}")
        batch = int(text)
        if len(body) != batch * self.inputs.item_bytes:
            raise Refused(f"the body has {len(body)} bytes; a batch of {batch} has {batch * self.inputs.item_bytes}")
        return batch


def over_grpc(headers: dict) -> bool:
    """Whether a request came without any header of its own: what is there are the types of its parameters."""
    return all(isinstance(value, dict) for value in headers.values())


def prediction_error(message: str) -> Exception:
    """What TorchServe makes INVALID_ARGUMENT of."""
    from ts.utils.util import PredictionException

    return PredictionException(message, 400)


_served: Served | None = None


def handle(requests: list[dict] | None, context: "Context") -> list[bytes | str] | None:
    """What TorchServe calls: once with no requests to load the model, then for every batch.

    A function, because TorchServe takes a class only where it is the only one of its module.
    """
    global _served  # noqa: PLW0603 - TorchServe keeps nothing else between calls of a function
    if requests is None:
        _served = Served(context)
        # TorchServe's worker would tell of every request; its metrics travel as log lines too, and may.
        logging.getLogger().setLevel(logging.WARNING)
        logging.getLogger("ts.metrics").setLevel(logging.INFO)
        return None
    return _served.answers(requests, context)
