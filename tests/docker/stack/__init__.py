"""Images that stand for those of docker-compose.yml where no registry can be reached, of this machine's own packages.

They are called as the compose file calls theirs: the same file is brought up, with other names in its ``.env``.
"""

import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from tests.docker.base import BASE, write_base

__all__ = ["IMAGES", "make_images", "pip_configuration"]

HERE = Path(__file__).parent
IMAGES: Mapping[str, str] = {
    "POSTGRES_IMAGE": "nightbench/postgres:test",
    "HAPROXY_IMAGE": "nightbench/haproxy:test",
    "GRAFANA_IMAGE": "nightbench/health:test",
    "DOCKER_CLI_IMAGE": "nightbench/cli:test",
    "PYTHON_IMAGE": BASE,
    "NIGHTBENCH_IMAGE": "nightbench/worker:test",
}
"""What ``.env`` says of images."""

_SHELL = ("base-files", "bash", "coreutils", "dash", "findutils", "grep", "sed", "libc-bin", "passwd", "util-linux")


def make_images(env: Mapping[str, str]) -> None:
    """Postgres, the proxy, Docker's client and what stands for Grafana, in the engine that ``env`` names.

    The worker's image Compose builds.
    """
    _import(env, "nightbench/postgres-files:test", (*_SHELL, "postgresql-15", "postgresql-client-15"))
    _build(env, IMAGES["POSTGRES_IMAGE"], "postgres.Dockerfile", "nightbench/postgres-files:test")
    _build(env, IMAGES["GRAFANA_IMAGE"], "health.Dockerfile", BASE)
    _import(env, IMAGES["HAPROXY_IMAGE"], (*_SHELL, "haproxy"))
    _import(env, IMAGES["DOCKER_CLI_IMAGE"], (), {"usr/local/bin/docker": Path("/usr/bin/docker")})


def _build(env: Mapping[str, str], tag: str, file: str, files: str) -> None:
    what = ("--tag", tag, "--build-arg", f"FILES={files}", "--file", str(HERE / file), str(HERE))
    # The older builder: a client without its BuildKit plugin has no other.
    plain = {**env, "DOCKER_BUILDKIT": "0"}
    subprocess.run(("docker", "build", "--quiet", *what), env=plain, check=True, capture_output=True)


def _import(
    env: Mapping[str, str], name: str, packages: tuple[str, ...], more: Mapping[str, Path] | None = None
) -> None:
    command = ("docker", "import", "--change", "ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin", "-", name)
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        with process.stdin as pipe, tarfile.open(fileobj=pipe, mode="w|") as archive:
            if packages:
                write_base(archive, packages)
            else:
                folder = tarfile.TarInfo("usr/local/libexec/docker")
                folder.type, folder.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(folder)
            for inside, path in (more or {}).items():
                archive.add(path.resolve(), inside)
    assert process.returncode == 0, f"docker import {name} ended with {process.returncode}"


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def pip_configuration(folder: Path) -> Iterator[Path]:
    """A pip configuration that says what this machine's says, with its local folders served on loopback meanwhile.

    A build sees no folder of the machine; with the machine's network it sees its loopback.
    """
    said = subprocess.run(("pip", "config", "list"), capture_output=True, text=True, check=True).stdout
    values: dict[str, str] = {}
    for line in said.splitlines():
        name, _, value = line.partition("=")
        values.setdefault(name.rpartition(".")[2].lower(), value.strip("'\""))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory="/"))
    Thread(target=server.serve_forever, daemon=True).start()
    here = f"http://127.0.0.1:{server.server_port}"
    lines = ["[global]"]
    for name in ("index-url", "extra-index-url", "find-links"):
        places = [_served(place, here) for place in values.get(name, "").replace("\\n", " ").split()]
        lines += [f"{name} = {' '.join(places)}"] if places else []
    path = folder / "pip.conf"
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o644)
    try:
        yield path
    finally:
        server.shutdown()
        server.server_close()


def _served(place: str, here: str) -> str:
    local = place.removeprefix("file://")
    return f"{here}{local}/" if local.startswith("/") else place
