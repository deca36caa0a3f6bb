"""NVIDIA NIM for language models, the image that brings no model. Written, not run: it needs a GPU and an image.

It serves the folder it is pointed at, with vLLM inside, and with settings that NVIDIA chooses for the GPU. Neither
NGC_API_KEY nor HF_TOKEN is set: with a local folder it fetches nothing. Paths are the host's: the artifact's folder is
mounted where it is. Its registry answers who is logged in: ``docker login nvcr.io``.
"""

from pathlib import Path

from nightbench.model import Format
from nightbench.server import BatchProof, Command, Metrics, Option, Protocol, ServeRequest, ServerSpec, Stop
from servers.official import OFFICIAL

__all__ = ["SERVER"]


def command(request: ServeRequest) -> Command:
    """What the image's own entry point is given: NIM is configured by its environment."""
    options = request.options
    caching = "--enable-prefix-caching" if options["enable_prefix_caching"] else "--no-enable-prefix-caching"
    return Command(
        argv=(),
        env={
            "NIM_MODEL_PATH": str(request.artifact.path),
            "NIM_SERVED_MODEL_NAME": request.model.name,
            "NIM_SERVER_PORT": str(request.ports["http"]),
            "NIM_MAX_MODEL_LEN": str(options["max_model_len"]),
            "NIM_PASSTHROUGH_ARGS": f"--max-num-seqs {options['max_num_seqs']} --dtype {options['dtype']} {caching}",
            "NIM_CACHE_PATH": str(request.workdir / "cache"),
            "NIM_DISABLE_MODEL_DOWNLOAD": "1",
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
        },
    )


SERVER = ServerSpec(
    name="nim",
    title="NVIDIA NIM",
    folder=Path(__file__).parent,
    distribution="",
    formats=(Format.HUGGINGFACE,),
    protocols={Protocol.OPENAI: "http"},
    command=command,
    options=(
        Option(
            "max_num_seqs", default=128, minimum=1, help="The most requests in the running batch; further ones wait."
        ),
        Option("max_model_len", default=2048, minimum=1, help="The most tokens of a prompt and its answer together."),
        Option(
            "dtype",
            default="float32",
            choices=("float32", "bfloat16", "float16"),
            help="What it computes in. Only float32 is sure to give the reference's text.",
        ),
        Option(
            "enable_prefix_caching",
            default=False,
            help="Keep what was computed for a prompt. Inputs repeat here, so most of the work would be left out.",
        ),
    ),
    batching=True,
    batch_proof=BatchProof(items="vllm:generation_tokens", executions="vllm:iteration_tokens_total_count"),
    metrics=Metrics(port="http", path="/v1/metrics"),
    ready_timeout_s=900.0,
    start_estimate_s=120.0,
    stop=Stop(signal="SIGTERM", grace_s=30.0),
    process=False,
    image=OFFICIAL["nim"].ref,
    needs=("gpu",),
)
