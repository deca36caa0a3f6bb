"""Official images: the one place that names them, each by tag and digest.

No registry was reached where this was written: a digest of zeros is a placeholder, and nothing is pulled by it.
``nightbench images --bump NAME`` asks the registry for the tag's digest and writes it here; ``--tag`` goes to another
release. TensorRT's engine builder comes in Triton's image, so both go together.
"""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["OFFICIAL", "OfficialImage"]

_PLACEHOLDER = "sha256:" + "0" * 64


@dataclass(frozen=True, slots=True)
class OfficialImage:
    """One image of another maker."""

    repository: str
    tag: str
    digest: str

    @property
    def pinned(self) -> bool:
        """Whether its digest is known."""
        return self.digest != _PLACEHOLDER

    @property
    def ref(self) -> str:
        return f"{self.repository}:{self.tag}@{self.digest}"


# Literals, all of them: `launch.bump` rewrites tags and digests here.
OFFICIAL: Mapping[str, OfficialImage] = {
    "triton": OfficialImage(
        "nvcr.io/nvidia/tritonserver",
        "25.10-py3",
        "sha256:0000000000000000000000000000000000000000000000000000000000000000",
    ),
    "torchserve": OfficialImage(
        "pytorch/torchserve", "0.12.0-cpu", "sha256:0000000000000000000000000000000000000000000000000000000000000000"
    ),
    "vllm": OfficialImage(
        "vllm/vllm-openai", "v0.32.0", "sha256:0000000000000000000000000000000000000000000000000000000000000000"
    ),
    "tensorflow-serving": OfficialImage(
        "tensorflow/serving", "2.19.1", "sha256:0000000000000000000000000000000000000000000000000000000000000000"
    ),
    "openvino-model-server": OfficialImage(
        "openvino/model_server", "2026.4", "sha256:0000000000000000000000000000000000000000000000000000000000000000"
    ),
    "nim": OfficialImage(
        "nvcr.io/nim/nvidia/model-free-nim",
        "2.0.6",
        "sha256:0000000000000000000000000000000000000000000000000000000000000000",
    ),
    "sglang": OfficialImage(
        "lmsysorg/sglang", "v0.5.12", "sha256:0000000000000000000000000000000000000000000000000000000000000000"
    ),
}
