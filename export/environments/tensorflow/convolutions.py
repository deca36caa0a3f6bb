"""Operators over images: with their channels last, as TensorFlow's kernels for the CPU want them."""

import numpy as np
import tensorflow as tf
from values import Node, Value


def _spatial(node: Node) -> None:
    if node.rank(0) != 4:
        raise node.refuse(f"over {node.rank(0) - 2} axes")


def _edges(node: Node) -> list[int]:
    """Top, left, bottom, right."""
    if node.attribute("auto_pad", "NOTSET") not in {"NOTSET", "VALID"}:
        raise node.refuse(f"with auto_pad {node.attribute('auto_pad')}")
    return node.attribute("pads", [0, 0, 0, 0])


def _pads(node: Node, kernel: list[int], strides: list[int], dilations: list[int]) -> str | list[list[int]]:
    """TensorFlow's words for the padding. Where ``SAME`` means the same, it is said: more kernels know it."""
    top, left, bottom, right = _edges(node)
    if not any((top, left, bottom, right)):
        return "VALID"
    totals = [(size - 1) * dilation for size, dilation in zip(kernel, dilations, strict=True)]
    same = [(total // 2, total - total // 2) for total in totals]
    if strides == [1, 1] and same == [(top, bottom), (left, right)]:
        return "SAME"
    return [[0, 0], [top, bottom], [left, right], [0, 0]]


def conv(node: Node) -> Value:
    _spatial(node)
    weights = node.known(1)
    image, kernel = node.last(0), list(weights.shape[2:])
    strides, dilations = node.attribute("strides", [1, 1]), node.attribute("dilations", [1, 1])
    group = node.attribute("group", 1)
    padding = _pads(node, kernel, strides, dilations)
    channels = image.shape[-1]
    if group > 1 and group == channels:
        multiplier = weights.shape[0] // group
        filters = weights.reshape(group, multiplier, *kernel).transpose(2, 3, 0, 1)
        if strides[0] != strides[1]:
            raise node.refuse(f"of depth with strides {strides}")
        if max(strides) > 1 and max(dilations) > 1:  # TensorFlow answers, and wrongly
            raise node.refuse(f"of depth with strides {strides} and dilations {dilations}")
        if not isinstance(padding, str):
            # Padded by numbers, TensorFlow 2.21 ends the process with a failed check while it optimises MobileNetV2.
            image, padding = tf.pad(image, padding), "VALID"
        out = tf.nn.depthwise_conv2d(image, filters, [1, *strides, 1], padding, dilations=dilations)
    else:
        filters = weights.transpose(2, 3, 1, 0)
        pieces = zip(tf.split(image, group, axis=-1), np.split(filters, group, axis=-1), strict=True)
        done = [tf.nn.conv2d(part, each, strides, padding, dilations=dilations) for part, each in pieces]
        out = done[0] if group == 1 else tf.concat(done, axis=-1)
    return Value(tf.nn.bias_add(out, node.plain(2)) if node.has(2) else out, last=True)


def max_pool(node: Node) -> Value:
    _spatial(node)
    kernel, strides = node.attribute("kernel_shape"), node.attribute("strides", [1, 1])
    dilations = node.attribute("dilations", [1, 1])
    if dilations != [1, 1] or node.attribute("ceil_mode", 0) or len(node.proto.output) > 1:
        raise node.refuse("with dilations, ceil_mode or indices")
    return Value(tf.nn.max_pool2d(node.last(0), kernel, strides, _pads(node, kernel, strides, dilations)), last=True)


def average_pool(node: Node) -> Value:
    _spatial(node)
    kernel, strides = node.attribute("kernel_shape"), node.attribute("strides", [1, 1])
    if node.attribute("ceil_mode", 0) or node.attribute("dilations", [1, 1]) != [1, 1]:
        raise node.refuse("with dilations or ceil_mode")
    top, left, bottom, right = _edges(node)
    image = node.last(0)
    edges = [[0, 0], [top, bottom], [left, right], [0, 0]]
    out = tf.nn.avg_pool2d(tf.pad(image, edges), kernel, strides, "VALID")
    if any((top, left, bottom, right)) and not node.attribute("count_include_pad", 0):
        share = tf.nn.avg_pool2d(tf.pad(tf.ones_like(image[:1, :, :, :1]), edges), kernel, strides, "VALID")
        out = out / share
    return Value(out, last=True)


def global_average_pool(node: Node) -> Value:
    _spatial(node)
    return Value(tf.reduce_mean(node.last(0), axis=[1, 2], keepdims=True), last=True)


def batch_normalization(node: Node) -> Value:
    if node.attribute("training_mode", 0):
        raise node.refuse("in training")
    if node.rank(0) not in {2, 4}:
        raise node.refuse(f"over {node.rank(0)} axes")
    last = node.rank(0) == 4
    scale, bias, mean, variance = (node.plain(position) for position in range(1, 5))
    epsilon = node.attribute("epsilon", 1e-5)
    values = node.last(0) if last else node.plain(0)
    return Value(tf.nn.batch_normalization(values, mean, variance, bias, scale, epsilon), last)


def resize(node: Node) -> Value:
    """To a whole multiple, by repeating: what networks that go up again do."""
    _spatial(node)
    image = node.last(0)
    scales = [float(each) for each in node.known(2)] if node.has(2) and node.known(2).size else []
    if node.has(3):
        sizes = [int(each) for each in node.known(3)]
        scales = [1.0, 1.0, *(to / of for to, of in zip(sizes[2:], image.shape[1:3], strict=True))]
    whole = len(scales) == 4 and scales[:2] == [1, 1] and all(each >= 1 and each == int(each) for each in scales)
    how, where = node.attribute("mode", "nearest"), node.attribute("coordinate_transformation_mode", "half_pixel")
    nearest = node.attribute("nearest_mode", "round_prefer_floor")
    # Only so does every value come out as often as the others.
    repeats = (where == "asymmetric" and nearest == "floor") or (where == "half_pixel" and nearest.startswith("round"))
    if not (whole and how == "nearest" and repeats):
        raise node.refuse(f"by {scales} with mode {how}, {where}, {nearest}")
    for axis, times in ((1, int(scales[2])), (2, int(scales[3]))):
        image = tf.repeat(image, times, axis=axis) if times > 1 else image
    return Value(image, last=True)


OPERATORS = {
    "AveragePool": average_pool,
    "BatchNormalization": batch_normalization,
    "Conv": conv,
    "GlobalAveragePool": global_average_pool,
    "MaxPool": max_pool,
    "Resize": resize,
}
