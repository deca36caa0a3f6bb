"""The bounds below fp32 let rounding pass and no wrong layer: planted faults, in a tiny classifier and detector."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from export import zoo
from export.cast import cast
from nightbench.model import Precision
from nightbench.parity import OutputParity, compare, compare_all, tolerance_at

TINY, DETECTOR = zoo.models()["tiny_cnn"], zoo.models()["tiny_yolo"]
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


@pytest.fixture(scope="module")
def detected() -> torch.Tensor:
    """What the detector says of 16 pictures."""
    with torch.inference_mode():
        said: torch.Tensor = zoo.build(DETECTOR, "random")(pictures())[0]
    return said


def pictures() -> torch.Tensor:
    return torch.from_numpy(zoo.inputs(DETECTOR, 16)["images"])


def detects(got: torch.Tensor, want: torch.Tensor, precision: Precision) -> OutputParity:
    rule = tolerance_at(DETECTOR, precision, "random")
    answers = ({"predictions": each.numpy()} for each in (got, want))
    return compare_all(DETECTOR.outputs, 16, [next(answers)], [next(answers)], rule)[0]


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
def test_rounding_in_a_detector_passes(detected: torch.Tensor, precision: Precision) -> None:
    with torch.inference_mode():
        got = cast(zoo.build(DETECTOR, "random"), precision)(pictures())[0]
    result = detects(got, detected, precision)
    assert result.passed, result.detail
    assert not detects(got, detected, Precision.FP32).passed


@pytest.mark.parametrize("precision", Precision)
def test_scores_of_a_detector_are_looked_at_beside_its_boxes(detected: torch.Tensor, precision: Precision) -> None:
    faults = {
        "scores zero": lambda said: said[..., 4:].zero_(),
        "objects zero": lambda said: said[..., 4].zero_(),
        "classes reversed": lambda said: said[..., 5:].copy_(said[..., 5:].flip(-1)),
        "boxes zero": lambda said: said[..., :4].zero_(),
    }
    for name, plant in faults.items():
        got = detected.clone()
        plant(got)
        assert not detects(got, detected, precision).passed, name
