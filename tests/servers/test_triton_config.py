"""``config.pbtxt`` as text: a change of it is a change of what is measured."""

from dataclasses import replace
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from nightbench.errors import UsageError
from nightbench.model import DType, TensorSpec
from nightbench.server import OptionValue
from servers.triton import SERVER
from servers.triton.config import config_pbtxt, ensemble_configs
from servers.triton.native import NATIVE, native_config_pbtxt
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


def parsed(text: str) -> Any:
    """As Triton reads it: by its own schema, which refuses a field it does not know."""
    return text_format.Parse(text, model_config_pb2.ModelConfig())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_queue_size": 64},
        {"dynamic_batching": True, "preferred_batch_size": "4, 8", "max_queue_delay_microseconds": 500},
        {"model_warmup": 3, "instance_count": 2},
    ],
)
@pytest.mark.parametrize("backend", ["python", *NATIVE])
def test_tritons_own_schema_reads_it(options: dict[str, OptionValue], backend: str) -> None:
    if backend == "python":
        config = parsed(config_pbtxt(MODEL, options))
    else:
        config = parsed(native_config_pbtxt(MODEL, options, 32, 1, backend, gpu=True))
    assert (config.name, config.backend, config.max_batch_size) == ("toy", backend, 32)
    assert [(tensor.name, list(tensor.dims)) for tensor in config.input] == [("image", [3, 4]), ("ids", [3])]


def test_warm_up_asks_zeros_of_every_input() -> None:
    (warmup,) = parsed(config_pbtxt(MODEL, {"model_warmup": 3})).model_warmup
    assert (warmup.batch_size, warmup.count) == (1, 3)
    assert {name: (list(given.dims), given.zero_data) for name, given in warmup.inputs.items()} == {
        "image": ([3, 4], True),
        "ids": ([3], True),
    }


def test_an_ensemble_answers_under_the_models_name_and_leads_to_the_model() -> None:
    texts = ensemble_configs(MODEL, {"dynamic_batching": True, "model_warmup": 1}, 8, {"artifact": "/a.onnx"})
    whole, first, second = (parsed(texts[name]) for name in ("toy", "toy_preprocess", "toy_model"))
    assert (whole.platform, whole.max_batch_size) == ("ensemble", 8)
    steps = whole.ensemble_scheduling.step
    assert [step.model_name for step in steps] == ["toy_preprocess", "toy_model"]
    assert dict(steps[0].output_map) == dict(steps[1].input_map) == {"image": "prepared_image", "ids": "prepared_ids"}
    assert dict(steps[1].output_map) == {"scores": "scores", "doubled": "doubled"}
    assert list(first.output) != list(second.output)
    assert not first.HasField("dynamic_batching")
    assert not first.parameters
    assert second.HasField("dynamic_batching")
    assert second.parameters["artifact"].string_value == "/a.onnx"


def test_an_ensemble_of_a_scalar_is_refused() -> None:
    scalar = replace(MODEL, outputs=(TensorSpec("score", DType.FP16, ()),))
    with pytest.raises(UsageError, match="has the scalar score"):
        ensemble_configs(scalar, {}, 8, {})


def test_native_backends_get_the_same_threads_and_their_own_device() -> None:
    for backend, names in (
        ("onnxruntime", ("intra_op_thread_count", "inter_op_thread_count")),
        ("pytorch", ("INTRA_OP_THREAD_COUNT", "INTER_OP_THREAD_COUNT")),
    ):
        config = parsed(native_config_pbtxt(MODEL, {}, 32, 4, backend, gpu=False))
        assert [config.parameters[name].string_value for name in names] == ["4", "1"]
        assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_CPU
    config = parsed(native_config_pbtxt(MODEL, {}, 32, 4, "tensorrt", gpu=True))
    assert not config.parameters
    assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
    with pytest.raises(UsageError, match="tensorrt backend needs a GPU"):
        native_config_pbtxt(MODEL, {}, 32, 4, "tensorrt", gpu=False)
