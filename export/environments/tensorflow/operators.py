"""Operators over tensors of any meaning; for one whose channels are last, the axes they name move with them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import convolutions
import gathers
import numpy as np
import onnx
import tensorflow as tf
from values import AXES_LAST, Node, Unsupported, Value, turned

Operator = Callable[[Node], Value | list[Value]]


def _near(bound: int) -> int:
    """ONNX says "to the end" by a number beyond it, which TensorFlow understands as long as it has 32 bits."""
    return max(-(2**31) + 1, min(2**31 - 1, bound))


def _unary(function: Callable, node: Node) -> Value:
    tensor, last = node.value(0)
    return Value(function(tensor), last)


def _together(node: Node, positions: range) -> tuple[list[tf.Tensor], bool]:
    """Inputs that are broadcast, all with their channels last if that spares turning one."""
    values = [node.value(position) for position in positions]
    ranks = [value.tensor.shape.rank for value in values]
    if not any(value.last for value in values) or any(rank is None or rank > 4 for rank in ranks):
        return [node.plain(position) for position in positions], False
    tensors = []
    for position, value, rank in zip(positions, values, ranks, strict=True):
        if value.last or rank == 0:
            tensors.append(value.tensor)
        elif rank == 4:
            tensors.append(node.last(position))
        else:
            shape = tf.shape(value.tensor)
            tensors.append(turned(tf.reshape(value.tensor, tf.concat([[1] * (4 - rank), shape], 0))))
    return tensors, True


def _broadcast(function: Callable, node: Node) -> Value:
    """Of two inputs, or of any number, from the left."""
    (out, *others), last = _together(node, range(len(node)))
    for other in others:
        out = function(out, other)
    return Value(out, last)


def _divide(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    return tf.truncatediv(left, right) if left.dtype.is_integer else left / right


def _power(base: tf.Tensor, power: tf.Tensor) -> tf.Tensor:
    """Of the base's type, whatever the exponent's."""
    if base.dtype.is_integer and power.dtype.is_floating:
        # TensorFlow's power of two float32 makes 224.99998 of 15 ** 2.
        return tf.cast(tf.pow(tf.cast(base, tf.float64), tf.cast(power, tf.float64)), base.dtype)
    return tf.pow(base, tf.cast(power, base.dtype))


def _where(node: Node) -> Value:
    tensors, last = _together(node, range(3))
    return Value(tf.where(*tensors), last)


def _clip(node: Node) -> Value:
    def function(tensor: tf.Tensor) -> tf.Tensor:
        low, high = (node.maybe_known(position) if node.has(position) else None for position in (1, 2))
        if tensor.dtype == tf.float32 and (low, high) == (0, 6):
            return tf.nn.relu6(tensor)  # fused into the convolution before it
        tensor = tf.maximum(tensor, node.plain(1)) if node.has(1) else tensor
        return tf.minimum(tensor, node.plain(2)) if node.has(2) else tensor

    return _unary(function, node)


def _cast(node: Node) -> Value:
    kind = tf.as_dtype(onnx.helper.tensor_dtype_to_np_dtype(node.attribute("to")))
    return _unary(lambda tensor: tf.cast(tensor, kind), node)


def _axes(node: Node, position: int) -> list[int] | None:
    """An input since some opset, an attribute before."""
    found = node.known(position).tolist() if node.has(position) else node.attribute("axes")
    return None if found is None else [int(each) for each in found]


def _reduce(function: Callable, node: Node) -> Value:
    axes, keep = _axes(node, 1), bool(node.attribute("keepdims", 1))
    if not axes:
        if node.attribute("noop_with_empty_axes", 0):
            return node.value(0)
        return Value(function(node.plain(0), axis=None, keepdims=keep))
    axes = [node.axis(axis) for axis in axes]
    tensor, last = node.value(0)
    # What is left of batch and channels stands as it did.
    if last and (keep or sorted(axes) == [2, 3]):
        return Value(function(tensor, axis=[AXES_LAST[axis] for axis in axes], keepdims=keep), keep)
    return Value(function(node.plain(0), axis=axes, keepdims=keep))


def _argmax(node: Node) -> Value:
    if node.attribute("select_last_index", 0):
        raise node.refuse("with select_last_index")
    axis = node.axis(node.attribute("axis", 0))
    found = tf.argmax(node.plain(0), axis, output_type=tf.int64)
    return Value(tf.expand_dims(found, axis) if node.attribute("keepdims", 1) else found)


def _softmax(node: Node) -> Value:
    return Value(tf.nn.softmax(node.plain(0), axis=node.attribute("axis", -1)))


def _layer_normalization(node: Node) -> Value:
    tensor = node.plain(0)
    axes = list(range(node.axis(node.attribute("axis", -1)), node.rank(0)))
    # Spelt out: TensorFlow 2.21 takes `tf.nn.moments` with `tf.nn.batch_normalization` for a layer normalisation of
    # oneDNN's, which it computes with an epsilon of 0.001 whatever the graph says.
    centred = tensor - tf.reduce_mean(tensor, axes, keepdims=True)
    variance = tf.reduce_mean(centred * centred, axes, keepdims=True)
    out = centred * tf.math.rsqrt(variance + node.attribute("epsilon", 1e-5)) * node.plain(1)
    return Value(out + node.plain(2) if node.has(2) else out)


def _matmul(node: Node) -> Value:
    left, right = node.plain(0), node.plain(1)
    if min(node.rank(0), node.rank(1)) < 2:
        raise node.refuse("with a vector")
    if node.rank(0) == 2 or node.rank(1) > 2:
        return Value(tf.matmul(left, right))
    # As one product of two matrices, the way TensorFlow's own dense layer does it.
    flat = tf.matmul(tf.reshape(left, [-1, left.shape[-1]]), right)
    return Value(tf.reshape(flat, tf.concat([tf.shape(left)[:-1], [right.shape[-1]]], 0)))


def _gemm(node: Node) -> Value:
    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    flags = {"transpose_a": bool(node.attribute("transA", 0)), "transpose_b": bool(node.attribute("transB", 0))}
    out = tf.matmul(node.plain(0), node.plain(1), **flags)
    out = out if alpha == 1 else out * alpha
    if node.has(2):
        added = node.plain(2) if beta == 1 else node.plain(2) * beta
        out = tf.nn.bias_add(out, added) if node.rank(2) == 1 and added.shape[0] == out.shape[1] else out + added
    return Value(out)


def _einsum(node: Node) -> Value:
    return Value(tf.einsum(node.attribute("equation"), *(node.plain(position) for position in range(len(node)))))


def _shape(node: Node) -> Value:
    sizes = node.sizes()[node.attribute("start", 0) : node.attribute("end")]
    return Value(tf.stack([tf.cast(each, tf.int64) for each in sizes]))


def _reshape(node: Node) -> Value:
    wanted = node.maybe_known(1)
    if wanted is None:
        return Value(tf.reshape(node.plain(0), node.plain(1)))
    shape = [int(each) for each in wanted]
    if not node.attribute("allowzero", 0) and 0 in shape:
        sizes = node.sizes()
        shape = [sizes[axis] if each == 0 else each for axis, each in enumerate(shape)]
        shape = tf.stack([tf.cast(each, tf.int64) for each in shape])
    return Value(tf.reshape(node.plain(0), shape))


def _flatten(node: Node) -> Value:
    sizes, axis = node.sizes(), node.axis(node.attribute("axis", 1))
    first = [tf.cast(each, tf.int64) for each in sizes[:axis]]
    return Value(tf.reshape(node.plain(0), tf.stack([tf.reduce_prod(first), tf.constant(-1, tf.int64)])))


def _transpose(node: Node) -> Value:
    return Value(tf.transpose(node.plain(0), node.attribute("perm")))


def _squeeze(node: Node) -> Value:
    return Value(tf.squeeze(node.plain(0), _axes(node, 1)))


def _unsqueeze(node: Node) -> Value:
    axes = _axes(node, 1)
    rank, out = node.rank(0) + len(axes), node.plain(0)
    for axis in sorted(axis % rank for axis in axes):
        out = tf.expand_dims(out, axis)
    return Value(out)


def _concat(node: Node) -> Value:
    positions = range(len(node))
    axis = node.axis(node.attribute("axis"))
    if all(node.rank(position) == 4 for position in positions) and any(node.value(each).last for each in positions):
        return Value(tf.concat([node.last(position) for position in positions], AXES_LAST[axis]), last=True)
    return Value(tf.concat([node.plain(position) for position in positions], axis))


def _split(node: Node) -> list[Value]:
    tensor, last = node.value(0)
    axis = node.axis(node.attribute("axis", 0))
    axis = AXES_LAST[axis] if last else axis
    sizes = node.known(1).tolist() if node.has(1) else None
    parts = len(node.proto.output)
    if sizes is None:
        size = -(-tensor.shape[axis] // parts)  # the last may be smaller
        sizes = [size] * (parts - 1) + [tensor.shape[axis] - size * (parts - 1)]
    return [Value(part, last) for part in tf.split(tensor, sizes, axis)]


def _slice(node: Node) -> Value:
    tensor, last = node.value(0)
    starts, ends = (_bounds(node, position) for position in (1, 2))
    axes = [int(each) for each in node.known(3)] if node.has(3) else list(range(len(starts)))
    steps = [int(each) for each in node.known(4)] if node.has(4) else [1] * len(starts)
    cuts = [slice(None)] * node.rank(0)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        at = node.axis(axis)
        place = AXES_LAST[at] if last else at
        first, beyond = (_inside(each, tensor.shape[place], step) for each in (start, end))
        cuts[place] = slice(first, beyond, step)
    return Value(tensor[tuple(cuts)], last)


def _inside(bound: Any, size: int | None, step: int) -> Any:
    """No farther out than where nothing is left: TensorFlow cannot slice a shape beyond its rank."""
    if size is None or not isinstance(bound, int):
        return bound
    return max(-size - (step < 0), min(size, bound))


def _bounds(node: Node, position: int) -> list:
    known = node.maybe_known(position)
    if known is not None:
        return [_near(int(each)) for each in known]
    count = node.plain(position).shape[0]
    if count is None:
        raise node.refuse("with a number of axes known at run time only")
    return tf.unstack(node.plain(position), count)


def _expand(node: Node) -> Value:
    tensor, shape = node.plain(0), node.plain(1)
    return Value(tf.broadcast_to(tensor, tf.broadcast_dynamic_shape(tf.shape(tensor, out_type=tf.int64), shape)))


def _tile(node: Node) -> Value:
    return Value(tf.tile(node.plain(0), node.plain(1)))


def _range(node: Node) -> Value:
    return Value(tf.range(*(node.plain(position) for position in range(3))))


def _constant_of_shape(node: Node) -> Value:
    value = node.attribute("value")
    filled = np.float32(0) if value is None else onnx.numpy_helper.to_array(value).reshape(())
    return Value(tf.fill(node.plain(0), tf.constant(filled)))


def _constant(node: Node) -> Value:
    value = node.attribute("value")
    if value is None:
        raise node.refuse("without a tensor")
    return Value(tf.constant(onnx.numpy_helper.to_array(value)))


def _pad(node: Node) -> Value:
    modes = {"constant": "CONSTANT", "reflect": "REFLECT"}
    if node.attribute("mode", "constant") not in modes or node.has(3):
        raise node.refuse(f"with mode {node.attribute('mode')} or axes")
    tensor, last = node.value(0)
    pads = node.known(1).reshape(2, -1).T
    if pads.min() < 0:
        raise node.refuse("with negative pads")
    pads = pads[[0, 2, 3, 1]] if last else pads
    filling = node.plain(2) if node.has(2) else tf.zeros([], tensor.dtype)
    return Value(tf.pad(tensor, pads, modes[node.attribute("mode", "constant")], filling), last)


_UNARY: dict[str, Callable] = {
    "Abs": tf.abs,
    "Ceil": tf.math.ceil,
    "Cos": tf.cos,
    "Dropout": tf.identity,
    "Erf": tf.math.erf,
    "Exp": tf.exp,
    "Floor": tf.floor,
    "Identity": tf.identity,
    "IsNaN": tf.math.is_nan,
    "Log": tf.math.log,
    "Neg": tf.negative,
    "Not": tf.logical_not,
    "Reciprocal": tf.math.reciprocal,
    "Relu": tf.nn.relu,
    "Sigmoid": tf.sigmoid,
    "Sign": tf.sign,
    "Sin": tf.sin,
    "Softplus": tf.math.softplus,
    "Sqrt": tf.sqrt,
    "Tanh": tf.tanh,
}
_BROADCAST: dict[str, Callable] = {
    "Add": tf.add,
    "And": tf.logical_and,
    "Div": _divide,
    "Equal": tf.equal,
    "Greater": tf.greater,
    "GreaterOrEqual": tf.greater_equal,
    "Less": tf.less,
    "LessOrEqual": tf.less_equal,
    "Max": tf.maximum,
    "Min": tf.minimum,
    "Mul": tf.multiply,
    "Or": tf.logical_or,
    "Pow": _power,
    "Sub": tf.subtract,
    "Sum": tf.add,
}
_REDUCE: dict[str, Callable] = {
    "ReduceL2": tf.math.reduce_euclidean_norm,
    "ReduceMax": tf.reduce_max,
    "ReduceMean": tf.reduce_mean,
    "ReduceSum": tf.reduce_sum,
}
OPERATORS: dict[str, Operator] = {
    **{name: partial(_unary, function) for name, function in _UNARY.items()},
    **{name: partial(_broadcast, function) for name, function in _BROADCAST.items()},
    **{name: partial(_reduce, function) for name, function in _REDUCE.items()},
    **convolutions.OPERATORS,
    **gathers.OPERATORS,
    "ArgMax": _argmax,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Einsum": _einsum,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "HardSigmoid": lambda node: _unary(
        lambda x: tf.clip_by_value(node.attribute("alpha", 0.2) * x + node.attribute("beta", 0.5), 0, 1), node
    ),
    "HardSwish": lambda node: _unary(lambda x: x * tf.nn.relu6(x + 3) / 6, node),
    "LayerNormalization": _layer_normalization,
    "LeakyRelu": lambda node: _unary(partial(tf.nn.leaky_relu, alpha=node.attribute("alpha", 0.01)), node),
    "MatMul": _matmul,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}


def apply(node: Node) -> list[Value]:
    """The outputs of one node. Raises `Unsupported`."""
    if node.proto.domain not in {"", "ai.onnx"} or node.op not in OPERATORS:
        raise Unsupported(f"ONNX operator {node.op} has no counterpart here")
    try:
        done = OPERATORS[node.op](node)
    except Unsupported:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        raise Unsupported(f"ONNX operator {node.op}: {type(error).__name__}: {lines[0]}") from error
    return done if isinstance(done, list) else [done]
