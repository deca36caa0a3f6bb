"""``config.pbtxt``: what Triton is told about a model. Pure text from pure facts.

Fields are those of Triton's ``model_config.proto``; they keep its order and names.
"""

import json
from collections.abc import Mapping

from nightbench.errors import UsageError
from nightbench.model import ModelSpec, TensorSpec
from nightbench.server import OptionValue

__all__ = ["check_options", "config_pbtxt"]


def check_options(options: Mapping[str, OptionValue]) -> None:
    """`UsageError` unless ``preferred_batch_size`` lists sizes up to ``max_batch_size``, used or not."""
    _preferred(str(options["preferred_batch_size"]), int(options["max_batch_size"]))


def config_pbtxt(
    model: ModelSpec,
    options: Mapping[str, OptionValue],
    max_batch: int = 32,
    parameters: Mapping[str, str] | None = None,
) -> str:
    """The model's configuration for the Python backend on CPU.

    An absent option takes the server's default. ``parameters`` reach ``model.py`` as strings; a tracked
    configuration has none, a deployed one names its artifact. `UsageError` for a malformed
    ``preferred_batch_size``.
    """
    parts = [
        f"name: {_quoted(model.name)}",
        'backend: "python"',
        f"max_batch_size: {max_batch}",
        *(_tensor("input", tensor) for tensor in model.inputs),
        *(_tensor("output", tensor) for tensor in model.outputs),
        f"instance_group [\n  {{\n    count: {options.get('instance_count', 1)}\n    kind: KIND_CPU\n  }}\n]",
    ]
    if scheduler := _scheduler(options, max_batch):
        parts.append("dynamic_batching {\n" + "".join(f"  {line}\n" for line in scheduler) + "}")
    parts += [
        f"parameters {{\n  key: {_quoted(key)}\n  value: {{ string_value: {_quoted(value)} }}\n}}"
        for key, value in (parameters or {}).items()
    ]
    return "\n".join(parts) + "\n"


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
