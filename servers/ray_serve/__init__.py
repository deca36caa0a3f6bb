"""Ray Serve: an HTTP proxy and model replicas, each an actor in a process of a small Ray cluster."""

import secrets
from dataclasses import replace
from pathlib import Path

from nightbench.model import Format
from nightbench.server import BatchProof, Command, Metrics, Option, Protocol, ServeRequest, ServerSpec, Stop
from servers.container import is_inside
from servers.raw_http import serve_command

__all__ = ["SERVER"]


def command(request: ServeRequest) -> Command:
    """Serve one model on a cluster of its own, which only who can read the working directory may command."""
    names = ("num_replicas", "max_ongoing_requests", "max_batch_size", "batch_wait_timeout_s")
    flags = [part for name in names for part in (f"--{name.replace('_', '-')}", str(request.options[name]))]
    token = request.workdir / "token"
    token.write_text(secrets.token_hex(32), encoding="ascii")
    token.chmod(0o600)
    started = serve_command(
        request,
        SERVER.folder,
        (*flags, "--metrics-port", str(request.ports["metrics"]), "--workdir", str(request.workdir)),
    )
    return replace(
        started,
        env={
            **started.env,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
            # Memory is limited from outside, alike for every server; Ray would kill replicas for what others take.
            "RAY_memory_monitor_refresh_ms": "0",
            # Despite its name: with "1" Ray takes its machine's address in the network, and listens everywhere. In a
            # container that is its own bridge; on its loopback nobody outside could read the metrics.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1" if is_inside(request) else "0",
            # Any free ones, where Ray would take the same two for every cluster of this machine.
            "AUTOSCALER_METRIC_PORT": "0",
            "DASHBOARD_METRIC_PORT": "0",
        },
    )


SERVER = ServerSpec(
    name="ray-serve",
    title="Ray Serve",
    folder=Path(__file__).parent,
    distribution="ray",
    formats=(Format.TORCHSCRIPT,),
    protocols={Protocol.RAW_HTTP: "http"},
    command=command,
    ports=("http", "metrics"),
    options=(
        Option("num_replicas", default=1, minimum=1, help="Replica processes, each with the model loaded."),
        Option(
            "max_ongoing_requests",
            # Ray's own default is 5. The proxy asks again for a place after pauses of up to half a second: with 16
            # requests in flight a tiny model served 109 a second then, and 274 with this.
            default=100,
            minimum=1,
            help="Requests a replica takes in before the proxy holds further ones back.",
        ),
        Option("max_batch_size", default=1, minimum=1, help="The most requests joined into one batch; 1 joins none."),
        Option(
            "batch_wait_timeout_s",
            default=0.0,
            minimum=0,
            help="How long a request may wait for company; 0 takes what waits. Acts with max_batch_size over 1 only.",
        ),
    ),
    batching=True,
    # Exact counters, both: Ray guesses the sums of its histograms from their buckets. It publishes every ten seconds.
    batch_proof=BatchProof(
        "ray_serve_deployment_request_counter",
        "ray_serve_batches_processed",
        {"max_batch_size": 16, "batch_wait_timeout_s": 0.02},
    ),
    metrics=Metrics(port="metrics", path="/metrics"),
    start_estimate_s=12.0,
    stop=Stop(signal="SIGTERM", grace_s=20.0),
)
