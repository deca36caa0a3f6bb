"""A stand-in for tensorflow_model_server, which exists as an image only: its command line, its protocols, its layout.

Runs in `export/environments/tensorflow` and imports nothing of nightbench. The messages are those of the real
``tensorflow-serving-api``, the answers TensorFlow's own. It does not batch, and its speed says nothing.
"""

import argparse
import json
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

SIGNATURE = "serving_default"
METRICS = "/monitoring/prometheus/metrics"


class Refused(Exception):
    """A request that does not fit the model."""


class Model:
    """The newest version under a base path, as TensorFlow Serving would choose it."""

    def __init__(self, name: str, base: Path) -> None:
        self.name = name
        self.version = max(int(path.name) for path in base.iterdir() if path.name.isdecimal())
        folder = base / str(self.version)
        meta = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs[0]
        self.signature = meta.signature_def[SIGNATURE]
        self._loaded = tf.saved_model.load(str(folder))
        self._run = self._loaded.signatures[SIGNATURE]
        self.inputs = {name: tf.as_dtype(info.dtype) for name, info in self.signature.inputs.items()}
        self.answered = 0
        self._lock = threading.Lock()

    def predict(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if inputs.keys() != self.inputs.keys():
            raise Refused(f"inputs are {sorted(inputs)}, not {sorted(self.inputs)}")
        for name, array in inputs.items():
            sizes = [dim.size for dim in self.signature.inputs[name].tensor_shape.dim]
            if array.dtype != self.inputs[name].as_numpy_dtype:
                raise Refused(f"input {name} is of type {array.dtype}, not {self.inputs[name].name}")
            if len(sizes) != array.ndim or any(-1 != want != got for want, got in zip(sizes, array.shape, strict=True)):
                raise Refused(f"input {name} is of shape {array.shape}, not {sizes}")
        answers = self._run(**{name: tf.constant(array) for name, array in inputs.items()})
        with self._lock:
            self.answered += 1
        return {name: answer.numpy() for name, answer in answers.items()}


class Rpc(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, model: Model) -> None:
        self._model = model

    def _check(self, spec, context) -> None:
        if spec.name != self._model.name:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({spec.name})")

    def Predict(self, request, context):  # noqa: N802  gRPC's name
        self._check(request.model_spec, context)
        if request.model_spec.signature_name not in {"", SIGNATURE}:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no such signature")
        try:
            inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
            answers = self._model.predict(inputs)
        except (Refused, ValueError, TypeError, tf.errors.OpError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        answer = predict_pb2.PredictResponse()
        answer.model_spec.name, answer.model_spec.signature_name = self._model.name, SIGNATURE
        answer.model_spec.version.value = self._model.version
        for name in request.output_filter or answers:
            if name not in answers:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"output {name} is not of this signature")
            answer.outputs[name].CopyFrom(tf.make_tensor_proto(answers[name]))
        return answer

    def GetModelMetadata(self, request, context):  # noqa: N802  gRPC's name
        self._check(request.model_spec, context)
        return metadata(self._model)


def metadata(model: Model) -> get_model_metadata_pb2.GetModelMetadataResponse:
    answer = get_model_metadata_pb2.GetModelMetadataResponse()
    answer.model_spec.name = model.name
    answer.model_spec.version.value = model.version
    signatures = get_model_metadata_pb2.SignatureDefMap(signature_def={SIGNATURE: model.signature})
    answer.metadata["signature_def"].Pack(signatures)
    return answer


class Rest(BaseHTTPRequestHandler):
    model: Model
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        path = f"/v1/models/{self.model.name}"
        if self.path == path:
            state = {"version": str(self.model.version), "state": "AVAILABLE"}
            self._say(200, {"model_version_status": [state | {"status": {"error_code": "OK", "error_message": ""}}]})
        elif self.path == f"{path}/metadata":
            self._say(200, json_format.MessageToDict(metadata(self.model), preserving_proto_field_name=True))
        elif self.path == METRICS:
            labels = f'{{model_name="{self.model.name}",status="OK"}}'
            text = f"# TYPE :tensorflow:serving:request_count counter\n:tensorflow:serving:request_count{labels} "
            self._send(200, "text/plain", f"{text}{self.model.answered}\n".encode())
        else:
            self._say(404, {"error": "Malformed request: GET " + self.path})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != f"/v1/models/{self.model.name}:predict":
            self._say(404, {"error": "Malformed request: POST " + self.path})
            return
        try:
            answers = self.model.predict(self._inputs(json.loads(body)))
        except (Refused, ValueError, TypeError, tf.errors.OpError) as error:
            self._say(400, {"error": str(error)})
            return
        named = {name: answer.tolist() for name, answer in answers.items()}
        self._say(200, {"outputs": named if len(named) > 1 else next(iter(named.values()))})

    def _inputs(self, said) -> dict[str, np.ndarray]:
        """The columnar form, the only one that nightbench speaks."""
        if not isinstance(said, dict) or "inputs" not in said:
            raise Refused("Missing 'inputs' or 'instances' key")
        columns = said["inputs"]
        if not isinstance(columns, dict):
            columns = {next(iter(self.model.inputs)): columns}
        kinds = {name: kind.as_numpy_dtype for name, kind in self.model.inputs.items()}
        return {name: np.array(column, kinds.get(name)) for name, column in columns.items()}

    def _say(self, status: int, answer: dict) -> None:
        self._send(status, "application/json", json.dumps(answer).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Not a line a request."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rest_api_port", type=int, required=True)
    parser.add_argument("--model_name", required=True)
    parser.add_argument("--model_base_path", type=Path, required=True)
    parser.add_argument("--monitoring_config_file", type=Path, required=True)
    parser.add_argument("--tensorflow_intra_op_parallelism", type=int, required=True)
    parser.add_argument("--tensorflow_inter_op_parallelism", type=int, required=True)
    parser.add_argument("--file_system_poll_wait_seconds", type=int, required=True)
    asked = parser.parse_args()
    if METRICS not in asked.monitoring_config_file.read_text():
        parser.error("--monitoring_config_file: it names another path")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    tf.config.threading.set_intra_op_parallelism_threads(asked.tensorflow_intra_op_parallelism)
    tf.config.threading.set_inter_op_parallelism_threads(asked.tensorflow_inter_op_parallelism)
    Rest.model = model = Model(asked.model_name, asked.model_base_path)
    options = [("grpc.max_receive_message_length", 2**31 - 1), ("grpc.so_reuseport", 0)]
    rpc = grpc.server(ThreadPoolExecutor(4), options=options)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Rpc(model), rpc)
    if not rpc.add_insecure_port(f"127.0.0.1:{asked.port}"):
        raise SystemExit("the gRPC port is taken")
    rpc.start()
    rest = ThreadingHTTPServer(("127.0.0.1", asked.rest_api_port), Rest)
    threading.Thread(target=rest.serve_forever, daemon=True).start()
    stop.wait()
    rest.shutdown()
    rpc.stop(1).wait()


if __name__ == "__main__":
    main()
