"""vLLM, its build for CPUs: a language model behind an OpenAI-compatible API, its answers streamed token by token.

Nothing of ours runs in it; the command is vLLM's own. Requests join and leave the running batch at every token
(continuous batching), up to ``max_num_seqs``. The time its model takes to load is not told apart from its start.
"""

from pathlib import Path

from nightbench.model import Format
from nightbench.server import BatchProof, Command, Metrics, Option, Protocol, ServeRequest, ServerSpec, Stop
from servers.raw_http import thread_env

__all__ = ["SERVER"]

_FLAGS = ("max_num_seqs", "max_model_len", "dtype")
_SWITCHES = ("enforce_eager", "enable_prefix_caching")
_KV_CACHE_GIB = 1


def command(request: ServeRequest) -> Command:
    options = request.options
    flags = [part for name in _FLAGS for part in (f"--{_dashed(name)}", str(options[name]))]
    switches = [f"--{_dashed(name)}" if options[name] else f"--no-{_dashed(name)}" for name in _SWITCHES]
    return Command(
        argv=(
            # Isolated: this folder bears vLLM's name and must not shadow it. And not by `vllm serve`, which looks for a
            # distribution of that name, where this build has another.
            *(str(request.python), "-I", "-m", "vllm.entrypoints.openai.api_server"),
            *("--model", str(request.artifact.path)),
            *("--served-model-name", request.model.name),
            *("--host", request.host),
            *("--port", str(request.ports["http"])),
            *flags,
            *switches,
            # What a request leaves open is vLLM's default, not the model folder's.
            *("--generation-config", "vllm"),
            "--disable-uvicorn-access-log",
        ),
        env={
            **thread_env(request.threads),
            # By itself vLLM binds a thread to every core it finds; here the thread count and the affinity are given.
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_CPU_KVCACHE_SPACE": str(_KV_CACHE_GIB),
            # Its processes talk to each other on this machine only, and nobody is told that it runs.
            "VLLM_HOST_IP": "127.0.0.1",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            # What it compiles and remembers goes when the deployment does, so that every start is a cold one.
            "HOME": str(request.workdir),
            "VLLM_CACHE_ROOT": str(request.workdir / "cache"),
            "VLLM_CONFIG_ROOT": str(request.workdir / "config"),
        },
    )


def _dashed(name: str) -> str:
    return name.replace("_", "-")


SERVER = ServerSpec(
    name="vllm",
    title="vLLM (CPU)",
    folder=Path(__file__).parent,
    distribution="vllm-cpu",
    formats=(Format.HUGGINGFACE,),
    protocols={Protocol.OPENAI: "http"},
    command=command,
    options=(
        Option(
            "max_num_seqs",
            default=128,
            minimum=1,
            help="The most requests in the running batch; further ones wait. 1 answers one after the other.",
        ),
        Option("max_model_len", default=2048, minimum=1, help="The most tokens of a prompt and its answer together."),
        Option(
            "dtype",
            default="float32",
            choices=("float32", "bfloat16", "float16"),
            help="What it computes in. Only float32 is sure to give the reference's text.",
        ),
        Option(
            "enforce_eager",
            default=True,
            help="Run the model as it is. False compiles it first, as vLLM does by itself: faster answers for half a "
            "minute more to start, and a C++ compiler.",
        ),
        Option(
            "enable_prefix_caching",
            default=False,
            help="Keep what was computed for a prompt. Inputs repeat here, so most of the work would be left out.",
        ),
    ),
    batching=True,
    # Tokens made, and steps of the engine in which any were: unjoined, a step makes one at most.
    batch_proof=BatchProof(items="vllm:generation_tokens", executions="vllm:iteration_tokens_total_count"),
    metrics=Metrics(port="http", path="/metrics"),
    ready_timeout_s=300.0,
    start_estimate_s=35.0,
    stop=Stop(signal="SIGTERM", grace_s=15.0),
)
