"""Models of the transformers library, with seeded random weights or with those of a hub id."""

from typing import TYPE_CHECKING, Any

from export.zoo._checkpoint import refuse_pickle
from export.zoo._scale import examples, scale
from nightbench.errors import ExportError
from nightbench.model import ModelSpec

if TYPE_CHECKING:
    import torch

__all__ = ["transformers_model"]


def transformers_model(architecture: Any, config: Any, spec: ModelSpec, weights: str, seed: int) -> "torch.nn.Module":
    """``architecture`` (a transformers model class) behind the spec's inputs and outputs, in evaluation mode.

    ``weights`` is ``random`` (``config`` says the sizes), or a hub id with an optional ``@revision``, or a folder made
    by ``save_pretrained``; only safetensors are read, never a pickle. A head the checkpoint lacks is drawn from
    ``seed``; a checkpoint that lacks more is of another architecture, which is an `ExportError`.
    """
    import torch

    class Positional(torch.nn.Module):
        """Positional tensors in the order of the spec's inputs in, a tuple in the order of its outputs out."""

        def __init__(self, model: torch.nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            named = {tensor.name: value for tensor, value in zip(spec.inputs, tensors, strict=True)}
            answer = self.model(**named, return_dict=True)
            return tuple(answer[output.name] for output in spec.outputs)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if weights == "random":
            if spec.classifier:
                config.num_labels = spec.outputs[0].shape[0]
            module = Positional(architecture(config)).eval()
            if spec.classifier:
                scale(module, examples(spec))
            return module
        return Positional(_pretrained(architecture, weights)).eval()


def _pretrained(architecture: Any, weights: str) -> Any:
    import torch

    refuse_pickle(weights)
    hub_id, _, revision = weights.partition("@")
    model, report = architecture.from_pretrained(
        hub_id,
        revision=revision or "main",
        use_safetensors=True,
        dtype=torch.float32,
        output_loading_info=True,
    )
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("classifier."))
    if missing:
        raise ExportError(
            f"weights {weights!r} are not those of a {architecture.__name__}: "
            f"they lack {missing[0]!r} and {len(missing) - 1} more tensors"
        )
    return model
