"""A language model as the Hugging Face libraries save it: a folder of its configuration, weights and tokenizer.

That is what servers of language models load. Weights are safetensors, in fp32.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.draw import Arrays
from export.formats.base import Exporter, Runner, Work, versions
from export.zoo._greedy import greedy
from nightbench.model import ModelSpec

__all__ = ["EXPORTER"]


def _export(work: Work, path: Path) -> dict[str, str]:
    kept: Any = work.module()
    kept.model.save_pretrained(path)
    kept.tokenizer.save_pretrained(path)
    for file in path.iterdir():
        # Weights come out readable by their owner only, and a container has users of its own.
        file.chmod(0o644)
    return {**versions(*EXPORTER.tools), "exporter": "save_pretrained"}


def _open(path: Path, spec: ModelSpec, tools: Mapping[str, Path]) -> Runner:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {"local_files_only": True}
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, use_safetensors=True, **where)
    module = greedy(model, AutoTokenizer.from_pretrained(path, **where))
    (asked,), (answered,) = spec.inputs, spec.outputs

    def run(inputs: Mapping[str, Any]) -> Arrays:
        with torch.inference_mode():
            (texts,) = module(torch.from_numpy(inputs[asked.name]))
        return {answered.name: texts.numpy()}

    return run


EXPORTER = Exporter(
    suffix="",
    version=1,
    tools=("torch", "transformers", "tokenizers", "safetensors"),
    runtime=("transformers",),
    reproducible=True,
    export=_export,
    open=_open,
)
