"""Models in a row as one of Triton's ensembles: each step is a model of its own, and the ensemble hands tensors on.

Tensors meet by name: a step's input is what an earlier step last called so, or the ensemble's own input.
"""

from collections.abc import Mapping, Sequence

from nightbench.errors import UsageError
from nightbench.model import ModelSpec, TensorSpec
from servers.triton.config import header, quoted

__all__ = ["ensemble_pbtxt"]


def ensemble_pbtxt(whole: ModelSpec, steps: Sequence[ModelSpec], max_batch: int, version: int | None = None) -> str:
    """The configuration that answers under the name of ``whole`` by running ``steps``, at ``version`` or the newest.

    `UsageError` where a step needs what no earlier one gives, where nothing gives an output, and for a scalar, which an
    ensemble cannot reshape.
    """
    for tensor in (*whole.inputs, *whole.outputs, *(each for step in steps for each in (*step.inputs, *step.outputs))):
        if not tensor.shape:
            raise UsageError(f"model {whole.name}: Triton's ensembles take no scalar, and {tensor.name} is one")
    last = {tensor.name: number for number, step in enumerate(steps) for tensor in step.outputs}
    known = {tensor.name: (tensor.name, tensor) for tensor in whole.inputs}
    texts: list[str] = []
    for number, step in enumerate(steps):
        inputs = {tensor.name: _found(known, tensor, f"step {step.name} takes") for tensor in step.inputs}
        wanted = {tensor.name for tensor in whole.outputs if last.get(tensor.name) == number}
        for tensor in step.outputs:
            known[tensor.name] = (tensor.name if tensor.name in wanted else f"{step.name}.{tensor.name}", tensor)
        texts.append(_step(step.name, version, inputs, {tensor.name: known[tensor.name][0] for tensor in step.outputs}))
    for tensor in whole.outputs:
        _found(known, tensor, f"model {whole.name} gives")
    scheduling = "ensemble_scheduling {\n" + "".join(texts) + "}"
    return "\n".join([*header(whole, 'platform: "ensemble"', max_batch, version), scheduling]) + "\n"


def _found(known: Mapping[str, tuple[str, TensorSpec]], wanted: TensorSpec, who: str) -> str:
    """The ensemble's name for a tensor."""
    name, given = known.get(wanted.name, ("", None))
    if given is None or (given.dtype, given.shape) != (wanted.dtype, wanted.shape):
        there = f"it is {given.dtype}{list(given.shape)}" if given else f"there are {', '.join(known)}"
        raise UsageError(
            f"{who} {wanted.name} {wanted.dtype}{list(wanted.shape)}, but of the tensors before it {there}; "
            "let the outputs of a stage be the inputs of the next"
        )
    return name


def _step(name: str, version: int | None, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> str:
    """One step: the model's names for its tensors, each with the ensemble's."""
    maps = [("input_map", pair) for pair in inputs.items()] + [("output_map", pair) for pair in outputs.items()]
    lines = "".join(f"    {field} {{ key: {quoted(own)} value: {quoted(shared)} }}\n" for field, (own, shared) in maps)
    number = -1 if version is None else version
    return f"  step {{\n    model_name: {quoted(name)}\n    model_version: {number}\n{lines}  }}\n"
