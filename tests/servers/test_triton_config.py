"""``config.pbtxt`` as text: a change of it is a change of what is measured."""

from dataclasses import replace

import pytest

from nightbench.errors import UsageError
from nightbench.model import DType, TensorSpec
from servers.triton import SERVER
from servers.triton.config import config_pbtxt
from tests.servers.toy import MODEL

PLAIN = """\
name: "toy"
backend: "python"
max_batch_size: 32
input [
  {
    name: "image"
    data_type: TYPE_FP32
    dims: [ 3, 4 ]
  }
]
input [
  {
    name: "ids"
    data_type: TYPE_INT64
    dims: [ 3 ]
  }
]
output [
  {
    name: "scores"
    data_type: TYPE_FP32
    dims: [ 5 ]
  }
]
output [
  {
    name: "doubled"
    data_type: TYPE_INT64
    dims: [ 3 ]
  }
]
instance_group [
  {
    count: 1
    kind: KIND_CPU
  }
]
"""

ALONE = """\
dynamic_batching {
  preferred_batch_size: [ 1 ]
  default_queue_policy { max_queue_size: 64 }
}
"""

BATCHING = """\
dynamic_batching {
  preferred_batch_size: [ 4, 8 ]
  max_queue_delay_microseconds: 500
  default_queue_policy { max_queue_size: 64 }
}
"""

DEPLOYED = """\
parameters {
  key: "artifact"
  value: { string_value: "/a \\"b\\"/ü.onnx" }
}
"""


def test_by_default_it_is_tritons_own_scheduler() -> None:
    assert config_pbtxt(MODEL, {}) == PLAIN


def test_a_bounded_queue_alone_joins_nothing() -> None:
    assert config_pbtxt(MODEL, {"max_queue_size": 64}) == PLAIN + ALONE


def test_dynamic_batching() -> None:
    options = {
        "dynamic_batching": True,
        "preferred_batch_size": "4, 8",
        "max_queue_delay_microseconds": 500,
        "max_queue_size": 64,
    }
    assert config_pbtxt(MODEL, options) == PLAIN + BATCHING


def test_settings_of_dynamic_batching_do_nothing_without_it() -> None:
    options = {"max_queue_delay_microseconds": 500, "preferred_batch_size": "4"}
    assert config_pbtxt(MODEL, options) == PLAIN


def test_dynamic_batching_alone_waits_for_nothing_and_refuses_nothing() -> None:
    batching = "dynamic_batching {\n  max_queue_delay_microseconds: 0\n}\n"
    assert config_pbtxt(MODEL, {"dynamic_batching": True}) == PLAIN + batching


def test_deployment_facts_travel_as_quoted_parameters() -> None:
    assert config_pbtxt(MODEL, {}, parameters={"artifact": '/a "b"/ü.onnx'}) == PLAIN + DEPLOYED


def test_instances_and_largest_batch() -> None:
    text = config_pbtxt(MODEL, {"instance_count": 2}, max_batch=8)
    assert "count: 2\n" in text
    assert "max_batch_size: 8\n" in text


def test_a_scalar_is_a_reshaped_vector_of_one() -> None:
    scalar = replace(MODEL, outputs=(TensorSpec("score", DType.FP16, ()),))
    assert "data_type: TYPE_FP16\n    dims: [ 1 ]\n    reshape: { shape: [ ] }" in config_pbtxt(scalar, {})


@pytest.mark.parametrize("sizes", ["four", "0", "4,33", "-1", "2.5", "4;8"])
def test_preferred_sizes_that_are_none_are_refused(sizes: str) -> None:
    with pytest.raises(UsageError, match="preferred_batch_size"):
        config_pbtxt(MODEL, {"dynamic_batching": True, "preferred_batch_size": sizes})


@pytest.mark.parametrize("options", [{}, {"preferred_batch_size": "4, 8"}, {"preferred_batch_size": "32"}])
def test_options_that_fit_together_pass_the_check(options: dict[str, str]) -> None:
    assert SERVER.check is not None
    SERVER.check(SERVER.resolve(options))


@pytest.mark.parametrize(
    ("options", "largest"),
    [
        ({"preferred_batch_size": "four"}, 32),
        ({"preferred_batch_size": "33"}, 32),
        ({"preferred_batch_size": "16", "max_batch_size": 8}, 8),
    ],
)
def test_options_that_do_not_are_found_before_any_work(options: dict[str, str | int], largest: int) -> None:
    assert SERVER.check is not None
    with pytest.raises(UsageError, match=rf"preferred_batch_size of server triton is .* \({largest}\)"):
        SERVER.check(SERVER.resolve(options))
