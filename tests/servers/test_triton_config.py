"""``config.pbtxt`` as text: a change of it is a change of what is measured."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from nightbench.errors import UsageError
from nightbench.model import Draw, DType, TensorSpec
from nightbench.server import OptionValue
from servers.triton import SERVER
from servers.triton.config import config_pbtxt
from servers.triton.ensemble import ensemble_pbtxt
from servers.triton.native import NATIVE, native_config_pbtxt
from servers.triton.warmup import item
from tests.servers.toy import MODEL

PLAIN = """\
name: "toy"
backend: "python"
version_policy { all { } }
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


def test_warm_up_names_a_file_of_seeded_data_for_every_input() -> None:
    (warmup,) = parsed(config_pbtxt(MODEL, {"model_warmup": 3})).model_warmup
    assert (warmup.batch_size, warmup.count) == (1, 3)
    named = {name: (list(given.dims), given.input_data_file) for name, given in warmup.inputs.items()}
    assert named == {"image": ([3, 4], "input_0"), "ids": ([3], "input_1")}
    files = item(MODEL)
    assert {name: len(data) for name, data in files.items()} == {"input_0": 3 * 4 * 4, "input_1": 3 * 8}
    assert files == item(MODEL) != item(replace(MODEL, seed=1))
    assert np.isfinite(np.frombuffer(files["input_0"], "<f4")).all()


def test_warm_up_stays_within_a_vocabulary() -> None:
    ids = TensorSpec("ids", DType.INT64, (200,), draw=Draw.INTEGER, high=7)
    mask = TensorSpec("mask", DType.INT64, (200,), draw=Draw.ONES)
    drawn, ones = (np.frombuffer(data, "<i8") for data in item(replace(MODEL, inputs=(ids, mask))).values())
    assert (drawn.min(), drawn.max()) == (0, 6)
    assert (ones == 1).all()


def test_one_version_or_all_that_are_there() -> None:
    assert parsed(config_pbtxt(MODEL, {})).version_policy.HasField("all")
    largest = 2**60 - 1
    policy = parsed(config_pbtxt(MODEL, {}, version=largest)).version_policy
    assert list(policy.specific.versions) == [largest]


def test_optimisation_is_told_only_where_it_is_not_the_default() -> None:
    assert not parsed(config_pbtxt(MODEL, {"graph_level": 0})).HasField("optimization")
    assert parsed(config_pbtxt(MODEL, {"graph_level": -1})).optimization.graph.level == -1
    config = parsed(native_config_pbtxt(MODEL, {"cuda_graphs": True}, 32, 1, "tensorrt", gpu=True))
    assert config.optimization.cuda.graphs


def test_rate_limiting_gives_all_copies_one_turn() -> None:
    (group,) = parsed(config_pbtxt(MODEL, {"rate_limit": "execution_count", "instance_count": 2})).instance_group
    assert [(each.name, each.count) for each in group.rate_limiter.resources] == [("execution", 1)]
    assert not parsed(config_pbtxt(MODEL, {"rate_limit": "off"})).instance_group[0].HasField("rate_limiter")


PIXELS = TensorSpec("pixels", DType.FP32, (3, 4))
FIRST = replace(MODEL, name="first", outputs=(PIXELS,))
SECOND = replace(MODEL, name="second", inputs=(PIXELS,), outputs=MODEL.outputs[:1])
WHOLE = replace(MODEL, outputs=MODEL.outputs[:1])


def test_an_ensemble_hands_each_step_what_an_earlier_one_gave() -> None:
    whole = parsed(ensemble_pbtxt(WHOLE, (FIRST, SECOND), 8, version=5))
    assert (whole.platform, whole.max_batch_size) == ("ensemble", 8)
    steps = whole.ensemble_scheduling.step
    assert [(step.model_name, step.model_version) for step in steps] == [("first", 5), ("second", 5)]
    assert dict(steps[0].input_map) == {"image": "image", "ids": "ids"}
    assert dict(steps[0].output_map) == dict(steps[1].input_map) == {"pixels": "first.pixels"}
    assert dict(steps[1].output_map) == {"scores": "scores"}


def test_a_name_that_steps_share_means_what_the_last_of_them_gave() -> None:
    again = replace(FIRST, outputs=FIRST.inputs)
    whole = parsed(ensemble_pbtxt(MODEL, (again, replace(MODEL, name="second")), 8))
    first, second = whole.ensemble_scheduling.step
    assert dict(first.output_map) == dict(second.input_map) == {"image": "first.image", "ids": "first.ids"}
    assert dict(second.output_map) == {"scores": "scores", "doubled": "doubled"}
    assert {step.model_version for step in (first, second)} == {-1}


def test_stages_that_do_not_meet_are_refused_in_a_sentence() -> None:
    other = replace(FIRST, outputs=(replace(PIXELS, shape=(4, 3)),))
    with pytest.raises(UsageError, match=r"step second takes pixels FP32\[3, 4\].* it is FP32\[4, 3\]; let"):
        ensemble_pbtxt(WHOLE, (other, SECOND), 8)
    with pytest.raises(UsageError, match=r"step second takes pixels .* there are image, ids"):
        ensemble_pbtxt(WHOLE, (SECOND,), 8)
    with pytest.raises(UsageError, match="model toy gives doubled"):
        ensemble_pbtxt(MODEL, (FIRST, SECOND), 8)


def test_an_ensemble_of_a_scalar_is_refused() -> None:
    scalar = replace(MODEL, outputs=(TensorSpec("score", DType.FP16, ()),))
    with pytest.raises(UsageError, match="take no scalar, and score is one"):
        ensemble_pbtxt(scalar, (scalar,), 8)


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
