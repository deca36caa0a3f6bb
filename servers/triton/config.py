"""``config.pbtxt``: what Triton is told about a model. Pure text from pure facts.

Fields are those of Triton's ``model_config.proto``; they keep its order and names.
"""

import json
from collections.abc import Mapping, Sequence

from nightbench.errors import UsageError
from nightbench.model import ModelSpec, TensorSpec
from nightbench.server import OptionValue
from servers.triton.warmup import file_of

__all__ = ["RESOURCE", "check_options", "config_pbtxt", "header", "quoted"]

RESOURCE = "execution"
"""What the rate limiter hands out: one, to whichever instance of whichever model may run next."""


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
    version: int | None = None,
) -> str:
    """The model's configuration, for the Python backend on CPU unless told otherwise.

    An absent option takes the server's default. ``parameters`` reach the backend as strings. Served is
    ``version`` alone, or every version that is there. `UsageError` for a malformed ``preferred_batch_size``.
    """
    parts = [
        *header(model, f"backend: {quoted(backend)}", max_batch, version),
        _instances(options, kind),
    ]
    if scheduler := _scheduler(options, max_batch):
        parts.append("dynamic_batching {\n" + "".join(f"  {line}\n" for line in scheduler) + "}")
    if optimization := _optimization(options):
        parts.append("optimization {\n" + "".join(f"  {line}\n" for line in optimization) + "}")
    if count := int(options.get("model_warmup", 0)):
        parts.append(_warmup(model.inputs, count))
    parts += [
        f"parameters {{\n  key: {quoted(key)}\n  value: {{ string_value: {quoted(value)} }}\n}}"
        for key, value in (parameters or {}).items()
    ]
    return "\n".join(parts) + "\n"


def header(model: ModelSpec, runs: str, max_batch: int, version: int | None) -> list[str]:
    """What every model has, ensembles too. ``runs`` is its backend or platform."""
    # Versions are hashes and have no order: Triton's own policy, the highest, would serve any of them.
    policy = "all { }" if version is None else f"specific {{ versions: [ {version} ] }}"
    return [
        f"name: {quoted(model.name)}",
        runs,
        f"version_policy {{ {policy} }}",
        f"max_batch_size: {max_batch}",
        *(_tensor("input", tensor) for tensor in model.inputs),
        *(_tensor("output", tensor) for tensor in model.outputs),
    ]


def _instances(options: Mapping[str, OptionValue], kind: str) -> str:
    limited = options.get("rate_limit", "off") != "off"
    limiter = f"    rate_limiter {{ resources [ {{ name: {quoted(RESOURCE)} count: 1 }} ] }}\n" if limited else ""
    return f"instance_group [\n  {{\n    count: {options.get('instance_count', 1)}\n    kind: {kind}\n{limiter}  }}\n]"


def _optimization(options: Mapping[str, OptionValue]) -> list[str]:
    level = int(options.get("graph_level", 0))
    return [
        *([f"graph {{ level: {level} }}"] if level else []),
        # For the native TensorRT backend; not run.
        *(["cuda { graphs: true }"] if options.get("cuda_graphs", False) else []),
    ]


def _warmup(inputs: Sequence[TensorSpec], count: int) -> str:
    tensors = "".join(
        f"  inputs {{\n    key: {quoted(tensor.name)}\n"
        f"    value {{ data_type: TYPE_{tensor.dtype} dims: [ {', '.join(map(str, tensor.shape or (1,)))} ] "
        f"input_data_file: {quoted(file_of(position))} }}\n  }}\n"
        for position, tensor in enumerate(inputs)
    )
    return f'model_warmup {{\n  name: "seeded"\n  batch_size: 1\n{tensors}  count: {count}\n}}'


def _tensor(field: str, tensor: TensorSpec) -> str:
    # Triton has no empty dims: a scalar per batch item is a vector of one, reshaped.
    dims = f"[ {', '.join(map(str, tensor.shape or (1,)))} ]"
    reshape = "" if tensor.shape else "\n    reshape: { shape: [ ] }"
    return (
        f"{field} [\n  {{\n    name: {quoted(tensor.name)}\n    data_type: TYPE_{tensor.dtype}\n"
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


def quoted(text: str) -> str:
    """A string of protobuf's text format."""
    return json.dumps(text, ensure_ascii=False)
