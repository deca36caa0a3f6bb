"""Whether an exported file takes and gives the tensors its model's spec says: what a server is told must be both."""

from collections.abc import Sequence

from nightbench.model import ModelSpec, TensorSpec

__all__ = ["disagreement"]


def disagreement(model: ModelSpec, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> str | None:
    """One sentence naming the tensors of both, or ``None`` where the file's are the spec's.

    Their order is free, because they are asked for by name; an extent of -1 in the file takes any.
    """
    for kind, said, held in (("inputs", model.inputs, inputs), ("outputs", model.outputs, outputs)):
        by_name = {tensor.name: tensor for tensor in held}
        same = len(said) == len(held) == len(by_name) and all(
            tensor.name in by_name and _fits(tensor, by_name[tensor.name]) for tensor in said
        )
        if not same:
            return (
                f"model {model.name}: its spec says the {kind} {_listed(said)}, "
                f"but its exported file has {_listed(held)}; correct the spec or export it again"
            )
    return None


def _fits(said: TensorSpec, held: TensorSpec) -> bool:
    return (
        said.dtype is held.dtype
        and len(said.shape) == len(held.shape)
        and all(there in {-1, here} for here, there in zip(said.shape, held.shape, strict=True))
    )


def _listed(tensors: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{each.name} {each.dtype}{list(each.shape)}" for each in tensors) or "none"
