"""The tensors of a graph being built, by their ONNX names, and which of their axes is the channels.

TensorFlow's convolutions on the CPU want the channels last; ONNX has them second. A tensor stays as the last
convolution left it until something asks for it the other way, so that a network of convolutions turns its image once.
"""

from typing import NamedTuple

import numpy as np
import onnx
import tensorflow as tf
from onnx import numpy_helper

AXES_LAST = {0: 0, 1: 3, 2: 1, 3: 2}
"""Where each axis of batch, channels, height, width stands once the channels are last."""


class Unsupported(Exception):
    """What the graph asks for and this converter has no counterpart of, in one sentence."""


class Value(NamedTuple):
    """One tensor: channels second, or of any other meaning, unless ``last``."""

    tensor: tf.Tensor
    last: bool = False


def turned(tensor: tf.Tensor) -> tf.Tensor:
    """Channels second to channels last."""
    return tf.transpose(tensor, [0, 2, 3, 1])


class Values:
    def __init__(self) -> None:
        self._values: dict[str, Value] = {}
        self._turned: dict[str, tf.Tensor] = {}
        self._constants: dict[str, np.ndarray] = {}

    def put(self, name: str, value: Value) -> None:
        self._values[name] = value

    def put_constant(self, name: str, tensor: onnx.TensorProto) -> None:
        self._constants[name] = numpy_helper.to_array(tensor)

    def get(self, name: str) -> Value:
        if name not in self._values:
            self._values[name] = Value(tf.constant(self._constants[name]))
        return self._values[name]

    def known(self, name: str) -> np.ndarray | None:
        """Its value, if that does not depend on what is asked at run time."""
        if name in self._constants:
            return self._constants[name]
        value = self.get(name)
        return None if value.last else tf.get_static_value(value.tensor)

    def plain(self, name: str) -> tf.Tensor:
        """With its axes as in ONNX."""
        value = self.get(name)
        return self._other(name, value, [0, 3, 1, 2]) if value.last else value.tensor

    def last(self, name: str) -> tf.Tensor:
        """With its channels last."""
        value = self.get(name)
        return value.tensor if value.last else self._other(name, value, [0, 2, 3, 1])

    def _other(self, name: str, value: Value, axes: list[int]) -> tf.Tensor:
        if name not in self._turned:
            self._turned[name] = tf.transpose(value.tensor, axes)
        return self._turned[name]


class Node:
    """One operator of the graph, with what it is given."""

    def __init__(self, proto: onnx.NodeProto, values: Values) -> None:
        self.proto = proto
        self.op = proto.op_type
        self._values = values
        self._attributes = {each.name: onnx.helper.get_attribute_value(each) for each in proto.attribute}

    def __len__(self) -> int:
        return len(self.proto.input)

    def attribute(self, name: str, default=None):
        found = self._attributes.get(name, default)
        return found.decode() if isinstance(found, bytes) else found

    def has(self, position: int) -> bool:
        return position < len(self) and bool(self.proto.input[position])

    def value(self, position: int) -> Value:
        return self._values.get(self.proto.input[position])

    def plain(self, position: int) -> tf.Tensor:
        return self._values.plain(self.proto.input[position])

    def last(self, position: int) -> tf.Tensor:
        return self._values.last(self.proto.input[position])

    def maybe_known(self, position: int) -> np.ndarray | None:
        return self._values.known(self.proto.input[position])

    def known(self, position: int) -> np.ndarray:
        """The value of an input that must be known now: an axis, a size of padding."""
        found = self.maybe_known(position)
        if found is None:
            raise Unsupported(f"input {position} of ONNX operator {self.op} is known at run time only")
        return found

    def rank(self, position: int) -> int:
        rank = self.value(position).tensor.shape.rank
        if rank is None:
            raise Unsupported(f"an input of ONNX operator {self.op} has a number of axes known at run time only")
        return rank

    def axis(self, axis: int, position: int = 0) -> int:
        """Counted from the front."""
        return axis + self.rank(position) if axis < 0 else axis

    def sizes(self) -> list:
        """Of the first input's axes, each a number where it is known and a scalar where not."""
        tensor, last = self.value(0)
        known, asked = tensor.shape.as_list(), tf.shape(tensor, out_type=tf.int64)
        order = list(AXES_LAST.values()) if last else range(self.rank(0))
        return [asked[axis] if known[axis] is None else known[axis] for axis in order]

    def refuse(self, what: str) -> Unsupported:
        return Unsupported(f"ONNX operator {self.op} {what} has no counterpart here")
