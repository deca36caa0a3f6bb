"""ONNX to TensorFlow SavedModel. Runs in this folder's own environment, imports nothing of nightbench.

On standard input a JSON object: ``onnx`` and ``folder``, two paths; ``inputs`` and ``outputs``, lists of ``name``,
``dtype`` and ``shape`` without the batch axis, the dtype by NumPy's name. On standard output one JSON line: ``error``,
a sentence, or how it went. What is written is one graph with its weights as constants and the one signature
``serving_default``, with a batch axis of any size: ``saved_model.pb`` and nothing else, the same bytes every time.
"""

import json
import os
import sys
from pathlib import Path

OLDEST_OPSET = 13
"""Operators are read as of this one; before it Softmax meant something else."""


def build(model, order: dict):
    """The graph, with the tensors of its inputs and outputs by their names in ``order``."""
    import tensorflow as tf
    from operators import apply
    from values import Node, Unsupported, Value, Values

    for each in model.opset_import:
        if each.domain in {"", "ai.onnx"} and each.version < OLDEST_OPSET:
            raise Unsupported(f"its ONNX opset is {each.version}; export it with {OLDEST_OPSET} or newer")
    values, graph = Values(), tf.Graph()
    with graph.as_default():
        for tensor in model.graph.initializer:
            values.put_constant(tensor.name, tensor)
        inputs = {}
        for position, each in enumerate(order["inputs"]):
            held = tf.compat.v1.placeholder(each["dtype"], [None, *each["shape"]], f"input_{position}")
            inputs[each["name"]] = held
            values.put(each["name"], Value(held))
        unknown = {each.name for each in model.graph.input} - {*inputs} - {t.name for t in model.graph.initializer}
        if unknown:
            raise Unsupported(f"the model's inputs {sorted(unknown)} are not among those it is said to have")
        used = {name for proto in model.graph.node for name in proto.input} | {each.name for each in model.graph.output}
        for proto in model.graph.node:
            node = Node(proto, values)
            done = apply(node)
            if used.intersection(besides := proto.output[len(done) :]):
                raise node.refuse(f"whose outputs {[*besides]} are used")
            for name, value in zip(proto.output, done, strict=False):
                values.put(name, value)
        outputs = {}
        for position, each in enumerate(order["outputs"]):
            tensor = values.plain(each["name"])
            if tensor.dtype != tf.as_dtype(each["dtype"]):
                raise Unsupported(f"output {each['name']} is of type {tensor.dtype.name}, not {each['dtype']}")
            shape = [None, *each["shape"]]
            if not tensor.shape.is_compatible_with(shape):
                raise Unsupported(f"output {each['name']} is of shape {tensor.shape}, not {tf.TensorShape(shape)}")
            tensor = tf.identity(tensor, f"output_{position}")
            tensor.set_shape(shape)
            outputs[each["name"]] = tensor
    return graph, inputs, outputs


def write(graph, inputs: dict, outputs: dict, folder: Path) -> None:
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    v1 = tf.compat.v1
    builder = v1.saved_model.Builder(str(folder))
    with graph.as_default(), v1.Session() as session:
        signature = v1.saved_model.predict_signature_def(inputs, outputs)
        builder.add_meta_graph_and_variables(
            session, [tf.saved_model.SERVING], {"serving_default": signature}, strip_default_attrs=True
        )
    builder.save()
    written = folder / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(written.read_bytes())
    for path in sorted(folder.rglob("*"), reverse=True):  # an empty folder of variables, a fingerprint drawn at random
        path.rmdir() if path.is_dir() else path.unlink()
    written.write_bytes(model.SerializeToString(deterministic=True))


def convert(order: dict) -> dict:
    import onnx
    import tensorflow as tf
    from onnx import inliner
    from values import Unsupported

    try:
        model = onnx.load(order["onnx"])
        graph, inputs, outputs = build(inliner.inline_local_functions(model), order)
    except Unsupported as refused:
        return {"error": str(refused)}
    write(graph, inputs, outputs, Path(order["folder"]))
    return {"tensorflow": tf.__version__, "onnx": onnx.__version__, "operators": len(graph.get_operations())}


if __name__ == "__main__":
    out = os.dup(1)
    os.dup2(2, 1)  # C++ libraries print too
    answer = convert(json.load(sys.stdin))
    with os.fdopen(out, "w") as stream:
        print(json.dumps(answer), file=stream)
