"""TorchScript in KServe's model server. Runs in this folder's own environment and imports nothing of nightbench."""

import argparse
import json
import logging
import time
import warnings
from pathlib import Path

import kserve.logging
import kserve.model_server
import numpy as np
import torch
from grpc import aio
from kserve import InferOutput, InferRequest, InferResponse
from kserve.errors import InvalidInput
from kserve.protocol.rest.server import RESTServer

MAX_BATCH = 4096
DATATYPES = {"<f4": "FP32", "<f2": "FP16", "<i8": "INT64", "<i4": "INT32", "|u1": "UINT8"}


class TorchScript(kserve.Model):
    """One TorchScript file. Calls run on the server's event loop, one after the other, as KServe runs them."""

    def __init__(self, name: str, signature: dict, artifact: str, threads: int) -> None:
        super().__init__(name)
        self.inputs = [(t["name"], t["dtype"], tuple(t["shape"])) for t in signature["inputs"]]
        self.outputs = [(t["name"], t["dtype"]) for t in signature["outputs"]]
        # A tensor in a message cannot be written to, nor does a model write to its inputs.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        self.module = torch.jit.load(artifact, map_location="cpu").eval()
        self.ready = True

    def predict(
        self, payload: dict | InferRequest, headers: dict[str, str] | None = None, response_headers: dict | None = None
    ) -> dict | InferResponse:
        if isinstance(payload, InferRequest):
            return self.answer_v2(payload)
        return self.answer_v1(payload)

    def answer_v2(self, request: InferRequest) -> InferResponse:
        given = {tensor.name: tensor for tensor in request.inputs}
        arrays = []
        for name, dtype, _ in self.inputs:
            tensor = given.get(name)
            if tensor is None or tensor.datatype != DATATYPES[dtype]:
                raise InvalidInput(f"input {name!r} is missing or no {DATATYPES[dtype]}")
            try:
                arrays.append(tensor.as_numpy())
            except ValueError as error:
                raise InvalidInput(f"input {name!r}: {error}") from error
        outputs = []
        for (name, dtype), array in zip(self.outputs, self.run(arrays), strict=True):
            output = InferOutput(name, list(array.shape), DATATYPES[dtype])
            output.set_data_from_numpy(array, binary_data=request.use_binary_outputs)
            outputs.append(output)
        # An absent id must be an empty string: None makes the whole answer unserialisable.
        return InferResponse(response_id=request.id or "", model_name=self.name, infer_outputs=outputs)

    def answer_v1(self, body: dict) -> dict:
        rows = body.get("instances") if isinstance(body, dict) else None
        if not isinstance(rows, list):
            raise InvalidInput("send a JSON object whose instances are a list")
        try:
            if len(self.inputs) == 1:
                arrays = [np.array(rows, self.inputs[0][1])]
            else:
                arrays = [np.array([row[name] for row in rows], dtype) for name, dtype, _ in self.inputs]
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise InvalidInput(f"instances do not fit the model: {error}") from error
        columns = [array.tolist() for array in self.run(arrays)]
        if len(columns) == 1:
            return {"predictions": columns[0]}
        names = [name for name, _ in self.outputs]
        return {"predictions": [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]}

    def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        batch = len(arrays[0]) if arrays[0].ndim else 0
        if not 1 <= batch <= MAX_BATCH:
            raise InvalidInput(f"the batch has {batch} items; send from 1 to {MAX_BATCH}")
        for array, (name, _, shape) in zip(arrays, self.inputs, strict=True):
            if array.shape != (batch, *shape):
                raise InvalidInput(f"input {name!r} has shape {list(array.shape)}, not {[batch, *shape]}")
        with torch.inference_mode():
            answer = self.module(*map(torch.from_numpy, arrays))
        tensors = answer if isinstance(answer, (tuple, list)) else (answer,)
        pairs = zip(tensors, self.outputs, strict=True)
        return [np.ascontiguousarray(tensor.numpy(), dtype) for tensor, (_, dtype) in pairs]


def listen_on(host: str) -> None:
    """Make KServe listen on ``host``: its servers know only all interfaces, and no flag for another."""

    class Rest(RESTServer):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)
            self.config.host = host

    def server(*args: object, **kwargs: object) -> aio.Server:
        made = serve(*args, **kwargs)
        listen = made.add_insecure_port
        made.add_insecure_port = lambda address: listen(f"{host}:{address.rpartition(':')[2]}")
        return made

    serve, aio.server = aio.server, server
    kserve.model_server.RESTServer = Rest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, parents=[kserve.model_server.parser])
    parser.add_argument("--artifact", required=True)
    parser.add_argument("--signature", required=True, type=Path)
    parser.add_argument("--host", required=True)
    parser.add_argument("--threads", required=True, type=int)
    parser.add_argument("--load-time", required=True, type=Path)
    args = parser.parse_args()

    kserve.logging.configure_logging()
    for name in ("kserve", "kserve.trace", "uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.WARNING)

    started = time.monotonic_ns()
    model = TorchScript(args.model_name, json.loads(args.signature.read_text("utf-8")), args.artifact, args.threads)
    args.load_time.write_text(str(time.monotonic_ns() - started), encoding="ascii")

    listen_on(args.host)
    kserve.ModelServer(grace_period=2).start([model])


if __name__ == "__main__":
    main()
