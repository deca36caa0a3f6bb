"""A convolutional classifier of a few thousand parameters: for tests and for checking the instrument itself."""

from typing import TYPE_CHECKING

from export.zoo._scale import examples, scale
from nightbench.errors import ExportError
from nightbench.model import DType, ModelSpec, TensorSpec, Tolerance

if TYPE_CHECKING:
    import torch

__all__ = ["MODEL", "build"]

MODEL = ModelSpec(
    name="tiny_cnn",
    family="tiny",
    version=2,
    inputs=(TensorSpec("image", DType.FP32, (3, 16, 16)),),
    outputs=(TensorSpec("scores", DType.FP32, (10,)),),
    # Two convolutions leave room for little rounding: 3.4e-6 (measured).
    tolerance=Tolerance(max_abs=5e-5, max_rel=1e-3),
    classifier=True,
    licence="MIT",
)


def build(weights: str, seed: int) -> "torch.nn.Module":
    """The classifier over ten classes. It was never trained: any ``weights`` but ``random`` are an `ExportError`."""
    import torch
    from torch import nn

    if weights != "random":
        raise ExportError(f"model tiny_cnn has no weights {weights!r}; use 'random'")

    class TinyCnn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(
                nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(16),
                nn.ReLU(),
                nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(32),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
            )
            self.head = nn.Linear(32, 10)

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor]:
            return (self.head(self.features(image)),)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = TinyCnn().eval()
        scale(module, examples(MODEL))
    return module
