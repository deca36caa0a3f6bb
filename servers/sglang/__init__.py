"""SGLang: a language model behind an OpenAI-compatible API. Written, not run: it needs a GPU and an image.

The command is SGLang's own. Paths are the host's: the artifact's folder is mounted where it is.
"""

from pathlib import Path

from nightbench.model import Format
from nightbench.server import Command, Metrics, Option, Protocol, ServeRequest, ServerSpec, Stop
from servers.official import OFFICIAL

__all__ = ["SERVER"]

_FLAGS = ("max_running_requests", "context_length", "dtype")
_SWITCHES = ("disable_cuda_graph", "disable_radix_cache")


def command(request: ServeRequest) -> Command:
    """What the container runs."""
    options = request.options
    flags = [part for name in _FLAGS for part in (f"--{_dashed(name)}", str(options[name]))]
    switches = [f"--{_dashed(name)}" for name in _SWITCHES if options[name]]
    return Command(
        argv=(
            *("python3", "-m", "sglang.launch_server"),
            *("--model-path", str(request.artifact.path)),
            *("--served-model-name", request.model.name),
            *("--host", request.host),
            *("--port", str(request.ports["http"])),
            "--enable-metrics",
            *flags,
            *switches,
        ),
        env={"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"},
    )


def _dashed(name: str) -> str:
    return name.replace("_", "-")


SERVER = ServerSpec(
    name="sglang",
    title="SGLang",
    folder=Path(__file__).parent,
    distribution="",
    formats=(Format.HUGGINGFACE,),
    protocols={Protocol.OPENAI: "http"},
    command=command,
    image=OFFICIAL["sglang"].ref,
    options=(
        Option(
            "max_running_requests",
            default=128,
            minimum=1,
            help="The most requests in the running batch; further ones wait. 1 answers one after the other.",
        ),
        Option("context_length", default=2048, minimum=1, help="The most tokens of a prompt and its answer together."),
        Option(
            "dtype",
            default="float32",
            choices=("float32", "bfloat16", "float16"),
            help="What it computes in. Only float32 is sure to give the reference's text.",
        ),
        Option("disable_cuda_graph", default=False, help="Launch every kernel by itself: slower, quicker to start."),
        Option(
            "disable_radix_cache",
            default=True,
            help="Forget what was computed for a prompt. Inputs repeat here, so most of the work would be left out.",
        ),
    ),
    batching=True,
    metrics=Metrics(port="http", path="/metrics"),
    ready_timeout_s=600.0,
    start_estimate_s=60.0,
    stop=Stop(signal="SIGTERM", grace_s=15.0),
    process=False,
    needs=("gpu",),
)
