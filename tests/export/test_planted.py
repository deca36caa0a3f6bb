"""The usual bounds below fp32 let rounding pass and no wrong layer: planted faults, in the tiny classifier."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from export import zoo
from export.cast import cast
from nightbench.model import Precision
from nightbench.parity import OutputParity, compare, tolerance_at

TINY = zoo.models()["tiny_cnn"]
LOW = [precision for precision in Precision if precision is not Precision.FP32]


def transpose(layer: Any) -> None:
    layer.weight.data = layer.weight.data.transpose(2, 3).contiguous()


# Each is given the convolutions, norms and activations in order, and the head.
FAULTS: Mapping[str, Callable[[Any, Any], object]] = {
    "first layer transposed": lambda layers, _: transpose(layers[0]),
    "second layer transposed": lambda layers, _: transpose(layers[3]),
    "channels in another order": lambda layers, _: layers[3].weight.data.copy_(layers[3].weight.data.flip(1)),
    "a layer too large": lambda layers, _: layers[3].weight.data.mul_(1.1),
    "variance left out": lambda layers, _: layers[4].running_var.fill_(1.0),
    "no activation": lambda layers, _: layers.__setitem__(5, torch.nn.Identity()),
    "offset left out": lambda _, head: head.bias.data.zero_(),
}


def judged(module: torch.nn.Module, precision: Precision, scale: float = 1.0, shift: float = 0.0) -> OutputParity:
    """What the rule of ``precision`` says of ``module``, asked with inputs that somebody scaled and shifted."""
    image = torch.from_numpy(zoo.inputs(TINY, 16)["image"])
    with torch.inference_mode():
        want = zoo.build(TINY, "random")(image)[0].numpy()
        got = module(image * scale + shift)[0].numpy()
    return compare("scores", 16, got, want, tolerance_at(TINY, precision, "random"), classes=True)


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
def test_rounding_passes(precision: Precision) -> None:
    result = judged(cast(zoo.build(TINY, "random"), precision), precision)
    assert result.passed, result.detail
    assert not judged(cast(zoo.build(TINY, "random"), precision), Precision.FP32).passed


@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_layer_does_not(fault: str, precision: Precision) -> None:
    module: Any = zoo.build(TINY, "random")
    FAULTS[fault](module.features, module.head)
    assert not judged(module, precision).passed


@pytest.mark.parametrize("precision", LOW)
def test_an_input_normalised_twice_does_not(precision: Precision) -> None:
    assert not judged(zoo.build(TINY, "random"), precision, scale=1 / 0.225, shift=-0.45 / 0.225).passed


def test_the_reference_itself_is_within_every_rule() -> None:
    assert all(np.isclose(judged(zoo.build(TINY, "random"), precision).nrmse, 0) for precision in Precision)
