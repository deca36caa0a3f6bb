"""Half the bits inside, the same types outside."""

import pytest
import torch

from export.axes import dynamic_batch
from export.cast import cast
from nightbench.errors import ExportError
from nightbench.model import Precision

LOW = {Precision.FP16: torch.float16, Precision.BF16: torch.bfloat16}


class Mixed(torch.nn.Module):
    """Floats and integers in and out, with a complex buffer and an integer one beside."""

    turn: torch.Tensor
    offset: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(4, 3)
        self.register_buffer("turn", torch.tensor([1j], dtype=torch.complex64))
        self.register_buffer("offset", torch.tensor([2**40 + 1]))

    def forward(self, x: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.linear(x), ids + self.offset


class Gathering(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Mixed()

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.inner(*tensors))


INPUTS = (torch.linspace(-1, 1, 8).reshape(2, 4), torch.tensor([[1], [2**40]]))


@pytest.mark.parametrize("precision", LOW)
def test_weights_are_halved_and_outputs_keep_their_types(precision: Precision) -> None:
    module = cast(Mixed().eval(), precision)
    assert {one.dtype for one in module.parameters()} == {LOW[precision]}
    assert {one.dtype for one in module.buffers()} == {torch.complex64, torch.int64}
    scores, ids = module(*INPUTS)
    want, exact = Mixed()(*INPUTS)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, want, atol=0.02, rtol=0.02)
    assert not torch.equal(scores, want)
    assert torch.equal(ids, exact)


@pytest.mark.parametrize("build", [Mixed, Gathering])
@pytest.mark.parametrize("precision", LOW)
def test_it_can_be_traced_and_exported_for_any_batch(build: type[torch.nn.Module], precision: Precision) -> None:
    module = cast(build().eval(), precision)
    more = (torch.ones(5, 4), torch.ones(5, 1, dtype=torch.int64))
    program = torch.export.export(module, INPUTS, dynamic_shapes=dynamic_batch(module, 2))
    traced = torch.jit.trace(module, INPUTS)  # type: ignore[no-untyped-call]  # not annotated by torch
    for follower in (program.module(), traced):
        for got, want in zip(follower(*more), module(*more), strict=True):
            assert torch.equal(got, want)


def test_a_single_output_stays_one() -> None:
    got = cast(torch.nn.Linear(4, 3), Precision.FP16)(INPUTS[0])
    assert isinstance(got, torch.Tensor)
    assert got.dtype == torch.float32


def test_fp32_is_left_as_it_is_and_int8_is_no_cast() -> None:
    module = Mixed()
    assert cast(module, Precision.FP32) is module
    with pytest.raises(ExportError, match="int8 is no cast of a model's tensors but a quantisation; use fp16 or bf16"):
        cast(module, Precision.INT8)
