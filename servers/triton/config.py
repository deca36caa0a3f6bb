"""``config.pbtxt``: what Triton is told about a model. Pure text from pure facts.

Fields are those of Triton's ``model_config.proto``; they keep its order and names.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from nightbench.errors import UsageError
from nightbench.model import ModelSpec, TensorSpec
from nightbench.server import OptionValue

__all__ = ["check_options", "config_pbtxt", "ensemble_configs"]


def check_options(options: Mapping[str, OptionValue]) -> None:
    """`UsageError` unless ``preferred_batch_size`` lists sizes up to ``max_batch_size``, used or not."""
    _preferred(str(options["preferred_batch_size"]), int(options["max_batch_size"]))


def config_pbtxt(
    model: ModelSpec,
    options: Mapping[str, OptionValue],
    max_batch: int = 32,
    parameters: Mapping[str, str] | None = None,
    backend: str = "python",
    kind: str = "KIND_CPU",
) -> str:
    """The model's configuration, for the Python backend on CPU unless told otherwise.

    An absent option takes the server's default. ``parameters`` reach the backend as strings; a tracked
    configuration has none, a deployed one names its artifact. `UsageError` for a malformed
    ``preferred_batch_size``.
    """
    parts = [
        f"name: {_quoted(model.name)}",
        f"backend: {_quoted(backend)}",
        f"max_batch_size: {max_batch}",
        *(_tensor("input", tensor) for tensor in model.inputs),
        *(_tensor("output", tensor) for tensor in model.outputs),
        f"instance_group [\n  {{\n    count: {options.get('instance_count', 1)}\n    kind: {kind}\n  }}\n]",
    ]
    if scheduler := _scheduler(options, max_batch):
        parts.append("dynamic_batching {\n" + "".join(f"  {line}\n" for line in scheduler) + "}")
    if count := int(options.get("model_warmup", 0)):
        parts.append(_warmup(model.inputs, count))
    parts += [
        f"parameters {{\n  key: {_quoted(key)}\n  value: {{ string_value: {_quoted(value)} }}\n}}"
        for key, value in (parameters or {}).items()
    ]
    return "\n".join(parts) + "\n"


def ensemble_configs(
    model: ModelSpec, options: Mapping[str, OptionValue], max_batch: int, parameters: Mapping[str, str]
) -> dict[str, str]:
    """The configurations of an ensemble that answers under the model's name, by the names of its three models.

    Its first step hands every input on as it is, so that the answers stay the model's own: what it adds is the hop.
    `UsageError` for a scalar tensor, which an ensemble cannot reshape.
    """
    for tensor in (*model.inputs, *model.outputs):
        if not tensor.shape:
            raise UsageError(
                f"option ensemble of server triton: {model.name} has the scalar {tensor.name}; leave ensemble off"
            )
    first = replace(model, name=f"{model.name}_preprocess", outputs=model.inputs)
    second = replace(model, name=f"{model.name}_model")
    hop = {name: options[name] for name in ("instance_count", "max_queue_size") if name in options}
    prepared = [f"prepared_{tensor.name}" for tensor in model.inputs]
    given, wanted = [tensor.name for tensor in model.inputs], [tensor.name for tensor in model.outputs]
    whole = [
        f"name: {_quoted(model.name)}",
        'platform: "ensemble"',
        f"max_batch_size: {max_batch}",
        *(_tensor("input", tensor) for tensor in model.inputs),
        *(_tensor("output", tensor) for tensor in model.outputs),
        "ensemble_scheduling {\n"
        + _step(first.name, zip(given, given, strict=True), zip(given, prepared, strict=True))
        + _step(second.name, zip(given, prepared, strict=True), zip(wanted, wanted, strict=True))
        + "}",
    ]
    return {
        model.name: "\n".join(whole) + "\n",
        first.name: config_pbtxt(first, hop, max_batch),
        second.name: config_pbtxt(second, options, max_batch, parameters),
    }


def _step(name: str, inputs: Iterable[tuple[str, str]], outputs: Iterable[tuple[str, str]]) -> str:
    """One step: the model's names for its tensors, each with the ensemble's."""
    maps = [("input_map", pair) for pair in inputs] + [("output_map", pair) for pair in outputs]
    lines = "".join(
        f"    {field} {{ key: {_quoted(own)} value: {_quoted(shared)} }}\n" for field, (own, shared) in maps
    )
    return f"  step {{\n    model_name: {_quoted(name)}\n    model_version: -1\n{lines}  }}\n"


def _warmup(inputs: Sequence[TensorSpec], count: int) -> str:
    """Zeros are valid for every model: in range for an index, finite for a number."""
    tensors = "".join(
        f"  inputs {{\n    key: {_quoted(tensor.name)}\n"
        f"    value {{ data_type: TYPE_{tensor.dtype} dims: [ {', '.join(map(str, tensor.shape or (1,)))} ] "
        "zero_data: true }\n  }\n"
        for tensor in inputs
    )
    return f'model_warmup {{\n  name: "zeros"\n  batch_size: 1\n{tensors}  count: {count}\n}}'


def _tensor(field: str, tensor: TensorSpec) -> str:
    # Triton has no empty dims: a scalar per batch item is a vector of one, reshaped.
    dims = f"[ {', '.join(map(str, tensor.shape or (1,)))} ]"
    reshape = "" if tensor.shape else "\n    reshape: { shape: [ ] }"
    return (
        f"{field} [\n  {{\n    name: {_quoted(tensor.name)}\n    data_type: TYPE_{tensor.dtype}\n"
        f"    dims: {dims}{reshape}\n  }}\n]"
    )


def _scheduler(options: Mapping[str, OptionValue], max_batch: int) -> list[str]:
    """The fields of ``dynamic_batching``; none leaves Triton's default scheduler, whose queue has no bound."""
    limit = int(options.get("max_queue_size", 0))
    bound = [f"default_queue_policy {{ max_queue_size: {limit} }}"] if limit else []
    if not options.get("dynamic_batching", False):
        # Only this block can bound the queue. A preferred size of 1 with no delay sends every request alone,
        # whatever its own batch size, so that nothing is joined.
        return ["preferred_batch_size: [ 1 ]", *bound] if bound else []
    sizes = _preferred(str(options.get("preferred_batch_size", "")), max_batch)
    return [
        *([f"preferred_batch_size: [ {', '.join(map(str, sizes))} ]"] if sizes else []),
        f"max_queue_delay_microseconds: {options.get('max_queue_delay_microseconds', 0)}",
        *bound,
    ]


def _preferred(text: str, max_batch: int) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() and 1 <= int(part) <= max_batch for part in parts):
        raise UsageError(
            f"option preferred_batch_size of server triton is {text!r}; "
            f"give whole numbers from 1 to max_batch_size ({max_batch}), separated by commas"
        )
    return [int(part) for part in parts]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
