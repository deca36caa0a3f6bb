"""Operators that pick values by their places. ONNX counts a place below zero from the end, TensorFlow does not."""

import numpy as np
import tensorflow as tf
from values import Node, Value


def _from_front(node: Node, axis: int) -> tf.Tensor:
    """The second input's places along an axis of the first, none of them counted from the end."""
    indices = node.plain(1)
    return tf.where(indices < 0, indices + tf.cast(node.sizes()[axis], indices.dtype), indices)


def gather(node: Node) -> Value:
    axis, known = node.axis(node.attribute("axis", 0)), node.maybe_known(1)
    # One that is known at run time only and below zero is an error of TensorFlow's.
    indices = _from_front(node, axis) if known is not None and np.any(known < 0) else node.plain(1)
    return Value(tf.gather(node.plain(0), indices, axis=axis))


def gather_elements(node: Node) -> Value:
    """A value for every index: its own place, but along one axis where the index says."""
    axis, indices = node.axis(node.attribute("axis", 0)), node.plain(1)
    sizes = tf.unstack(tf.shape(indices, out_type=indices.dtype), node.rank(1))
    places = tf.meshgrid(*(tf.range(size) for size in sizes), indexing="ij")
    places[axis] = _from_front(node, axis)
    return Value(tf.gather_nd(node.plain(0), tf.stack(places, -1)))


def gather_nd(node: Node) -> Value:
    return Value(tf.gather_nd(node.plain(0), node.plain(1), batch_dims=node.attribute("batch_dims", 0)))


OPERATORS = {
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
}
