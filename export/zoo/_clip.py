"""The two towers of CLIP (Radford et al. 2021) as OpenCLIP trains them: plain GELU where OpenAI's have a quicker one.

Pictures are embedded once and texts when they are asked for, by servers of their own: so each tower is a model of its
own, and takes its half of the one checkpoint.
"""

from typing import TYPE_CHECKING, Any

from export.zoo._transformers import transformers_model
from nightbench.model import ModelSpec

if TYPE_CHECKING:
    import torch

__all__ = ["image_tower", "text_tower"]

_WIDTH = 4.0
"""Of drawn weights, in times of the usual. Attention as usually drawn looks everywhere alike, and embeds all noise as
nearly the same: with a cosine of 0.99 between them instead of 0.8 (measured)."""


def image_tower(spec: ModelSpec, weights: str, seed: int, **sizes: Any) -> "torch.nn.Module":
    """From ``pixel_values`` to ``image_embeds``; ``sizes`` are those of `transformers.CLIPVisionConfig`."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(hidden_act="gelu", initializer_factor=_WIDTH, **sizes)
    return transformers_model(CLIPVisionModelWithProjection, config, spec, weights, seed)


def text_tower(spec: ModelSpec, weights: str, seed: int, **sizes: Any) -> "torch.nn.Module":
    """From ``input_ids`` to ``text_embeds``; ``sizes`` are those of `transformers.CLIPTextConfig`."""
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    config = CLIPTextConfig(hidden_act="gelu", **sizes)
    return transformers_model(CLIPTextModelWithProjection, config, spec, weights, seed)
