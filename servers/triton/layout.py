"""Laying out one Triton instance: a model repository, a backend folder, and the command that serves them."""

import ctypes.util
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from nightbench.errors import DeploymentError
from nightbench.server import Command, ServeRequest
from servers.container import is_inside
from servers.raw_http import thread_env
from servers.triton.leftovers import sweep
from servers.triton.native import NATIVE
from servers.triton.repository import HAND_ON, check_signature, lay_out, placed, version_of

__all__ = ["command", "control", "serve", "server_flags"]

_IMAGE_BACKENDS = Path("/opt/backends")
"""Laid out by the Dockerfile as `_backends` does."""


def command(request: ServeRequest) -> Command:
    """Serve one model. `DeploymentError` (``no_environment``) where Triton cannot run from this environment."""
    return serve(request, _repository(request))


def serve(request: ServeRequest, repository: Path) -> Command:
    """Serve a model repository that is there, as ``request`` says otherwise; in a container, by its own backends."""
    sweep()
    wheel = request.site_packages / "pytriton" / "tritonserver"
    if is_inside(request):
        backends, preload = _IMAGE_BACKENDS, {"LD_PRELOAD": "libjemalloc.so.2"}
        libraries = [request.site_packages / "nvidia_pytriton.libs", Path("/usr/local/lib")]
    else:
        python = request.site_packages.parent.name  # ``python3.11``
        backends, preload = _backends(request, wheel, python), _preload()
        libraries = [*_libraries(request, python)]
    return Command(
        argv=(
            str(wheel / "bin" / "tritonserver"),
            *("--model-repository", str(repository)),
            *("--backend-directory", str(backends)),
            # What a killed Triton leaves in /dev/shm is told by this name to be ours.
            f"--backend-config=python,shm-region-prefix-name={request.workdir.name}_",
            *control(request),
            *server_flags(request),
        ),
        env={
            **thread_env(request.threads),
            # The backend's stub finds its packages through the first python3 on PATH, and ignores PYTHONPATH.
            "PATH": f"{request.python.parent}:/usr/local/bin:/usr/bin:/bin",
            "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
            **preload,
        },
    )


def server_flags(request: ServeRequest) -> tuple[str, ...]:
    """What any build of Triton is told, whichever backends it has."""
    addresses = (
        flag
        for name in ("http", "grpc", "metrics")
        for flag in (f"--{name}-address", request.host, f"--{name}-port", str(request.ports[name]))
    )
    return (
        "--disable-auto-complete-config",
        *addresses,
        *("--rate-limit", str(request.options["rate_limit"])),
        # The machine's own figures are taken from outside, alike for every server.
        *("--allow-cpu-metrics", "false", "--allow-gpu-metrics", "false"),
        # Long enough to unload a model in peace, within the grace of SERVER.stop.
        *("--exit-timeout-secs", "8"),
    )


def control(request: ServeRequest) -> tuple[str, ...]:
    """Which models it is told to load."""
    mode = str(request.options["model_control_mode"])
    # Told nothing, explicit control serves nothing. An ensemble brings its steps.
    load = ("--load-model", request.model.name) if mode == "explicit" else ()
    return ("--model-control-mode", mode, *load)


def _repository(request: ServeRequest) -> Path:
    check_signature(request.model, request.artifact)
    models = placed(
        request.model,
        request.artifact.format,
        request.options,
        threads=request.threads,
        version=version_of(request.artifact.sha256),
        parameters={"load_time_path": str(request.load_time_path)},
    )
    repository = request.workdir / "models"
    lay_out(repository, models, request.artifact, lambda source, target: target.symlink_to(source))
    return repository


def _backends(request: ServeRequest, wheel: Path, python: str) -> Path:
    """The Python backend with the stub of this environment's Python, which the wheel keeps apart, and what it runs.

    Copies: of Python-based backends Triton refuses a library that a link leads out of the folder to.
    """
    stub = wheel / "python_backend_stubs" / python.removeprefix("python") / "triton_python_backend_stub"
    if not stub.is_file():
        known = sorted(path.name for path in (wheel / "python_backend_stubs").glob("*"))
        raise DeploymentError(
            "no_environment", f"Triton has no Python backend for {python}; it has {', '.join(known) or 'none'}"
        )
    backends = request.workdir / "backends"
    (backends / "python").mkdir(parents=True)
    for part in (*(wheel / "backends" / "python").glob("*.*"), stub):
        shutil.copy(part, backends / "python" / part.name)
    for name in (*(name for name, native in NATIVE.items() if native.cpu), HAND_ON):
        (backends / name).mkdir()
        shutil.copyfile(Path(__file__).with_name("model.py"), backends / name / "model.py")
    return backends


def _libraries(request: ServeRequest, python: str) -> Iterator[Path]:
    """Where the loader finds what the backend links: the wheel's own libraries, and libpython."""
    yield request.site_packages / "nvidia_pytriton.libs"
    # The interpreter the environment was made from, in whose prefix its own libpython lies if it has one.
    own = request.python.resolve().parent.parent / "lib"
    if any(own.glob(f"lib{python}.so.*")):
        yield own
    elif ctypes.util.find_library(python) is None:
        raise DeploymentError(
            "no_environment",
            f"Triton's Python backend needs lib{python}.so; install it (Debian: apt-get install lib{python})",
        )


@cache
def _preload() -> dict[str, str]:
    """jemalloc, where the system has it.

    This release corrupts glibc's heap under deep open-loop overload and then hangs; with jemalloc it was never
    seen to. Looked up once: the search may run a compiler.
    """
    name = ctypes.util.find_library("jemalloc") if sys.platform == "linux" else None
    return {"LD_PRELOAD": name} if name else {}
