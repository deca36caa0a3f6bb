"""TensorFlow Serving over gRPC, against protobuf's own classes and a real gRPC service.

``tensorflow-serving-api`` needs all of TensorFlow, so the messages are declared here, by the field numbers of the
public .proto files, and protobuf does the rest.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from loadgen.protocols.base import Tensors
from loadgen.protocols.exchange import exchange
from loadgen.protocols.tensorflow import decode_response, encode_request
from loadgen.protocols.tfserving_grpc import TfServingGrpc
from nightbench.model import DType, TensorSpec
from nightbench.samples import Outcome
from nightbench.server import Endpoint, Protocol

DATA_TYPES = {
    "<f4": (1, "float_val"),
    "<f8": (2, "double_val"),
    "<i4": (3, "int_val"),
    "|u1": (4, "int_val"),
    "<i2": (5, "int_val"),
    "|i1": (6, "int_val"),
    "<i8": (9, "int64_val"),
    "|b1": (10, "bool_val"),
    "<u2": (17, "int_val"),
    "<f2": (19, "half_val"),
    "<u4": (22, "uint32_val"),
    "<u8": (23, "uint64_val"),
}
MESSAGES = {
    "Dim": "1 int64 size, 2 string name",
    "TensorShapeProto": "2 *Dim dim, 3 bool unknown_rank",
    "TensorProto": "1 int32 dtype, 2 TensorShapeProto tensor_shape, 3 int32 version_number, 4 bytes tensor_content, "
    "5 *float float_val, 6 *double double_val, 7 *int32 int_val, 8 *bytes string_val, 10 *int64 int64_val, "
    "11 *bool bool_val, 13 *int32 half_val, 16 *uint32 uint32_val, 17 *uint64 uint64_val",
    "ModelSpec": "1 string name, 3 string signature_name, 4 string version_label",
    "PredictRequest": "1 ModelSpec model_spec, 2 {TensorProto inputs, 3 *string output_filter",
    "PredictResponse": "2 ModelSpec model_spec, 1 {TensorProto outputs",
}
"""``*`` is repeated, ``{`` a map from strings."""


def _declared() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="tfs.proto", package="tfs", syntax="proto3")
    kind = descriptor_pb2.FieldDescriptorProto

    def add(message: descriptor_pb2.DescriptorProto, number: int, type_: str, name: str) -> None:
        field = message.field.add(name=name, number=number, label=kind.LABEL_OPTIONAL)
        if type_[0] in "*{":
            field.label = kind.LABEL_REPEATED
        bare = type_.lstrip("*{")
        if type_[0] == "{":
            entry = message.nested_type.add(name=f"{name.title()}Entry")
            entry.options.map_entry = True
            add(entry, 1, "string", "key")
            add(entry, 2, bare, "value")
            bare = f"{message.name}.{entry.name}"
        if bare in MESSAGES or type_[0] == "{":
            field.type, field.type_name = kind.TYPE_MESSAGE, f".tfs.{bare}"
        else:
            field.type = kind.Type.Value(f"TYPE_{bare.upper()}")

    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field in fields.split(", "):
            number, type_, field_name = field.split(" ")
            add(message, int(number), type_, field_name)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tfs.{name}"))
        for name in ("PredictRequest", "PredictResponse", "TensorProto")
    }


CLASSES = _declared()
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
ARRAYS = st.sampled_from(sorted(DATA_TYPES)).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)


def same(left: Tensors, right: Tensors) -> None:
    assert set(left) == set(right)
    for name, array in left.items():
        assert array.dtype == right[name].dtype
        assert array.shape == right[name].shape
        np.testing.assert_array_equal(array, right[name])


def number(array: NDArray[Any]) -> int:
    return DATA_TYPES[array.dtype.str][0]


def filled(tensor: Any, array: NDArray[Any], *, typed: bool) -> None:
    tensor.dtype = number(array)
    tensor.tensor_shape.SetInParent()
    for extent in array.shape:
        tensor.tensor_shape.dim.add(size=extent)
    if typed:
        values = array.view("<u2") if array.dtype == np.float16 else array
        getattr(tensor, DATA_TYPES[array.dtype.str][1]).extend(values.ravel().tolist())
    else:
        tensor.tensor_content = array.tobytes()


def response(outputs: Tensors, *, typed: bool = False) -> bytes:
    message = CLASSES["PredictResponse"]()
    message.model_spec.name = "m"
    for name, array in outputs.items():
        filled(message.outputs[name], array, typed=typed)
    return bytes(message.SerializeToString())


@given(model=NAMES, inputs=st.dictionaries(NAMES, ARRAYS, max_size=3), outputs=st.lists(NAMES, max_size=2))
def test_protobuf_reads_requests_as_they_were_meant(model: str, inputs: Tensors, outputs: list[str]) -> None:
    body = encode_request(model, "serving_default", inputs, outputs)
    got = CLASSES["PredictRequest"].FromString(body)
    assert (got.model_spec.name, got.model_spec.signature_name) == (model, "serving_default")
    assert list(got.output_filter) == outputs
    assert set(got.inputs) == set(inputs)
    for name, array in inputs.items():
        tensor = got.inputs[name]
        assert [dim.size for dim in tensor.tensor_shape.dim] == list(array.shape)
        assert (tensor.dtype, tensor.tensor_content) == (number(array), array.tobytes())


@given(array=ARRAYS)
def test_a_request_of_one_input_is_byte_for_byte_what_protobuf_writes(array: NDArray[Any]) -> None:
    want = CLASSES["PredictRequest"]()
    want.model_spec.name, want.model_spec.signature_name = "m", "s"
    filled(want.inputs["x"], array, typed=False)
    assert encode_request("m", "s", {"x": array}) == want.SerializeToString()


def test_types_that_tensorflow_has_no_name_for_are_refused() -> None:
    with pytest.raises(ValueError, match="TensorFlow has no type"):
        encode_request("m", "s", {"x": np.zeros(1, np.longdouble)})


@given(outputs=st.dictionaries(NAMES, ARRAYS, max_size=3), typed=st.booleans())
def test_answers_are_read_as_protobuf_wrote_them(outputs: Tensors, typed: bool) -> None:
    same(decode_response(response(outputs, typed=typed)), outputs)


@pytest.mark.parametrize(("values", "full"), [([], [0, 0, 0]), ([7], [7, 7, 7]), ([7, 5], [7, 5, 5])])
def test_the_last_value_stands_for_those_left_out(values: list[int], full: list[int]) -> None:
    message = CLASSES["PredictResponse"]()
    tensor = message.outputs["y"]
    tensor.dtype = 9
    tensor.tensor_shape.dim.add(size=3)
    tensor.int64_val.extend(values)
    same(decode_response(message.SerializeToString()), {"y": np.array(full, "<i8")})


def bad(**fields: Any) -> bytes:
    message = CLASSES["PredictResponse"]()
    values = {"dtype": 1, "tensor_content": bytes(8)} | fields
    for extent in values.pop("shape", (2,)):
        message.outputs["y"].tensor_shape.dim.add(size=extent)
    message.outputs["y"].MergeFrom(CLASSES["TensorProto"](**values))
    return bytes(message.SerializeToString())


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (bad(tensor_content=bytes(7)), "7 bytes do not fill shape"),
        (bad(dtype=7), "data type 7 holds no numbers"),
        (bad(shape=(-1,)), "negative shape"),
        (bad(shape=(2**62, 2**62)), "more than"),
        (bad(shape=(2**40,), tensor_content=b"", float_val=[1.0]), "more than"),
        (bad(tensor_content=b"", int_val=[1, 2]), "values of another type"),
        (bad(tensor_content=b"", float_val=[1, 2, 3]), "3 values do not fit"),
        (bad(shape=(), tensor_shape={"unknown_rank": True}), "unknown rank"),
        (bad()[:-1], "beyond its message"),
        (b"\x08\x01", "a number where bytes belong"),
        (b"\x0a\x04\x12\x02\x0a\x00", "bytes where a number belongs"),
    ],
)
def test_broken_answers_are_a_value_error(body: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decode_response(body)


def readable(body: bytes) -> None:
    with suppress(ValueError):
        decode_response(body)


@settings(max_examples=300)
@given(body=st.binary(max_size=200))
def test_random_bytes_are_a_value_error_and_nothing_else(body: bytes) -> None:
    readable(body)
    # Deeper in, where chance alone would not get.
    readable(b"\x0a" + bytes([min(len(body) + 2, 127)]) + b"\x12" + bytes([min(len(body), 125)]) + body[:125])


@settings(max_examples=300)
@given(
    outputs=st.dictionaries(NAMES, ARRAYS, min_size=1, max_size=2),
    typed=st.booleans(),
    edits=st.lists(st.tuples(st.integers(0, 200), st.binary(min_size=1, max_size=3)), min_size=1, max_size=3),
)
def test_mutated_answers_are_a_value_error_and_nothing_else(
    outputs: Tensors, typed: bool, edits: list[tuple[int, bytes]]
) -> None:
    body = bytearray(response(outputs, typed=typed))
    for at, patch in edits:
        start = at % len(body)
        body[start : start + len(patch)] = patch
    readable(bytes(body))


# -- the codec, against a real service


def predict(request: Any, context: grpc.ServicerContext) -> Any:
    """``y = 2 x``, and an error in words for any other model."""
    if request.model_spec.name != "doubler":
        context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.model_spec.name}")
    asked = request.inputs["x"]
    x = np.frombuffer(asked.tensor_content, "<f4").reshape([dim.size for dim in asked.tensor_shape.dim])
    answer = CLASSES["PredictResponse"]()
    for name in request.output_filter:
        filled(answer.outputs[name], 2 * x, typed=True)
    return answer


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = grpc.server(ThreadPoolExecutor(2))
    method = grpc.unary_unary_rpc_method_handler(
        predict, CLASSES["PredictRequest"].FromString, CLASSES["PredictResponse"].SerializeToString
    )
    service = "tensorflow.serving.PredictionService"
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {"Predict": method})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait()


def codec(port: int, model: str = "doubler") -> TfServingGrpc:
    endpoint = Endpoint(Protocol.TFSERVING_GRPC, "127.0.0.1", port, model)
    shape = (3, 64, 64)
    return TfServingGrpc(endpoint, (TensorSpec("x", DType.FP32, shape),), (TensorSpec("y", DType.FP32, shape),), 2)


def test_a_prediction_travels_there_and_back(port: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype("<f4")
    made = codec(port)
    reply = exchange(made.wire(), made.prepare({"x": x}), "127.0.0.1", port, 30)
    assert reply.outcome is Outcome.OK
    same(made.decode(reply.body), {"y": 2 * x})
    made.close()


def test_a_model_the_server_does_not_know_is_an_rpc_error(port: int) -> None:
    made = codec(port, "tripler")
    reply = exchange(made.wire(), made.prepare({"x": np.zeros((2, 3, 64, 64), "<f4")}), "127.0.0.1", port, 30)
    assert (reply.outcome, reply.detail) == (Outcome.RPC_ERROR, "NOT_FOUND: no model tripler")
