"""Images are built from what the machine gives, keep nothing of it, and are built once."""

import base64
import json
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from zipfile import ZipFile

import pytest

from launch import bump, images
from launch.bump import bump as bump_image
from launch.images import SERVER_LABEL, Image, built_images, built_tag, ensure_image, remove_images
from nightbench.errors import DeploymentError
from nightbench.model import Format
from nightbench.server import Command, Protocol, ServerSpec
from nightbench.stopping import Stopped
from servers import discover, official
from servers.official import OfficialImage
from tests.docker.base import BASE
from tests.docker.engine import Running
from tests.docker.registry import registry

PASSWORD = "hunter2-7f3a91"  # noqa: S105


def wheel(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", "SAYS = 'hello'\n")
        archive.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return path


@contextmanager
def index(path: Path) -> Iterator[str]:
    """A package index of one wheel that asks for a password; its address, with the password in it."""
    wanted = "Basic " + base64.b64encode(f"robot:{PASSWORD}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Authorization") != wanted:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="packages"')
                body = b""
            elif self.path.endswith(".whl"):
                self.send_response(200)
                body = path.read_bytes()
            elif self.path.strip("/").endswith("remote-toy"):
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                body = f'<!DOCTYPE html><a href="/files/{path.name}">{path.name}</a>'.encode()
            else:
                self.send_response(404)
                body = b""
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://robot:{PASSWORD}@127.0.0.1:{server.server_port}/simple"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def toy(root: Path, requirements: str, extra: str = "") -> ServerSpec:
    """A server whose Dockerfile is that of our baselines, but for its folder's name."""
    folder = root / "servers" / "toy"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").write_text("")
    (folder / "serve.py").write_text("import remote_toy\n")
    (folder / "requirements.txt").write_text(requirements)
    text = (discover()["flask"].folder / "Dockerfile").read_text().replace("srv/flask/", "srv/toy/")
    (folder / "Dockerfile").write_text(text.replace("USER server", f"{extra}USER server"))
    return ServerSpec(
        name="toy",
        title="Toy",
        folder=folder,
        distribution="remote-toy",
        formats=(Format.ONNX,),
        protocols={Protocol.RAW_HTTP: "http"},
        command=lambda _: Command(("true",)),
    )


def ensured(spec: ServerSpec, engine: Running, tmp_path: Path) -> Image:
    return ensure_image(spec, engine.url, tmp_path / "build.log", lambda _: None, base=BASE)


def docker(engine: Running, *arguments: str) -> str:
    return subprocess.run(
        ("docker", *arguments),
        env={"PATH": "/usr/bin:/usr/local/bin", **engine.env},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_pips_settings_serve_the_build_and_stay_in_no_layer_and_no_history(
    docker_engine: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(tmp_path / "lying-here", "local_toy")
    with index(wheel(tmp_path / "served", "remote_toy")) as address:
        monkeypatch.setenv("PIP_INDEX_URL", address)
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "lying-here"))
        spec = toy(tmp_path, "remote-toy==1.0\nlocal-toy==1.0\n")
        image = ensured(spec, docker_engine, tmp_path)
    assert image.built
    ran = docker(
        docker_engine,
        *("run", "--rm", "--network", "none", image.digest),
        *("/opt/server/bin/python", "-c", "import remote_toy, local_toy, os; print(remote_toy.SAYS, os.getuid())"),
    )
    assert ran == "hello 10001\n"
    # The password, the index's address, and the folder of this machine.
    secrets = [PASSWORD, address.rpartition("@")[2].partition("/")[0], "robot:", str(tmp_path), "lying-here"]
    told = docker(docker_engine, "history", "--no-trunc", "--format", "{{json .}}", image.digest)
    told += docker(docker_engine, "inspect", image.digest)
    assert not [secret for secret in secrets if secret in told]
    saved = tmp_path / "image.tar"
    docker(docker_engine, "save", "--output", str(saved), image.digest)
    of_base = len(json.loads(docker(docker_engine, "inspect", BASE))[0]["RootFS"]["Layers"])
    files = 0
    for name, data in _own_files(saved, of_base):
        files += 1
        assert not [secret for secret in secrets if secret.encode() in data or secret in name], name
    assert files > 100, "the layers were not looked into"


def _own_files(saved: Path, of_base: int) -> Iterator[tuple[str, bytes]]:
    """The image's own description, and every file of the layers that it adds to its base."""
    with tarfile.open(saved) as archive:
        (manifest,) = json.load(archive.extractfile("manifest.json") or pytest.fail("no manifest"))
        config = archive.extractfile(manifest["Config"])
        assert config is not None
        yield manifest["Config"], config.read()
        for name in manifest["Layers"][of_base:]:
            with tarfile.open(fileobj=archive.extractfile(name)) as layer:
                for member in layer:
                    file = layer.extractfile(member) if member.isfile() else None
                    yield member.name, file.read() if file else b""


def test_an_image_that_is_there_is_not_built_and_a_changed_kit_makes_another(
    docker_engine: Running, tmp_path: Path
) -> None:
    spec = toy(tmp_path, "")
    first = ensured(spec, docker_engine, tmp_path)
    again = ensured(spec, docker_engine, tmp_path)
    assert (again.ref, again.digest, again.built) == (first.ref, first.digest, False)
    (spec.folder / "serve.py").write_text("import this\n")
    other = ensured(spec, docker_engine, tmp_path)
    assert other.built
    assert other.ref != first.ref
    assert built_tag(spec, "python:3.11") != other.ref  # nor is it the same on another base
    listed = {each.ref for each in built_images(docker_engine.url)}
    assert {first.ref, other.ref} <= listed
    doomed = [each for each in built_images(docker_engine.url) if each.ref == first.ref]
    assert [kept for _, kept in remove_images(doomed, docker_engine.url)] == [""]
    assert first.ref not in {each.ref for each in built_images(docker_engine.url)}


def test_an_image_that_a_container_runs_from_is_kept_and_why(docker_engine: Running, tmp_path: Path) -> None:
    spec = toy(tmp_path, "", extra="LABEL kept=yes\n")
    image = ensured(spec, docker_engine, tmp_path)
    container = docker(docker_engine, "run", "--detach", "--network", "none", image.ref, "sleep", "600").strip()
    try:
        doomed = [each for each in built_images(docker_engine.url) if each.ref == image.ref]
        ((_, kept),) = remove_images(doomed, docker_engine.url)
        assert "container" in kept
    finally:
        docker(docker_engine, "rm", "--force", container)


def test_a_package_that_is_nowhere_is_a_sentence(docker_engine: Running, tmp_path: Path) -> None:
    spec = toy(tmp_path, "nightbench-no-such-package==9.9\n")
    with pytest.raises(DeploymentError) as caught:
        ensured(spec, docker_engine, tmp_path)
    assert caught.value.kind == "no_image"
    assert "the image of toy could not be built: " in caught.value.detail
    assert "nightbench-no-such-package==9.9" in caught.value.detail
    assert "nightbench-no-such-package" in (tmp_path / "build.log").read_text()


def test_a_build_ends_when_it_is_told_to(docker_engine: Running, tmp_path: Path) -> None:
    spec = toy(tmp_path, "", extra="RUN sleep 6543\n")
    events: list[str] = []
    with pytest.raises(Stopped, match="the image of toy"):
        ensure_image(
            spec,
            docker_engine.url,
            tmp_path / "build.log",
            events.append,
            lambda: any("sleep 6543" in event for event in events),
            base=BASE,
        )


def test_an_official_image_is_pulled_by_digest_once_its_digest_is_set(
    docker_engine: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "official.py"
    with registry() as remote:
        named = OfficialImage(f"{remote.host}/makers/server", "1.0", "sha256:" + "0" * 64)
        file.write_text(f'OFFICIAL = {{"toy": OfficialImage("{named.repository}", "1.0", "{named.digest}")}}\n')
        for module in (official, bump, images):
            monkeypatch.setattr(module, "OFFICIAL", {"toy": named})
        spec = replace(toy(tmp_path, ""), image=named.ref)
        with pytest.raises(DeploymentError, match="nightbench images --bump toy"):
            ensured(spec, docker_engine, tmp_path)
        done = bump_image("toy", "2.0", docker_engine.url, file)
        assert (done.after.tag, done.after.digest) == ("2.0", remote.digest)
        assert f'"2.0", "{remote.digest}"' in file.read_text()
        with pytest.raises(DeploymentError, match="no_image"):
            bump_image("toy", "3.0", docker_engine.url, file)
        pulled = ensured(replace(spec, image=done.after.ref), docker_engine, tmp_path)
        assert (pulled.ref, pulled.digest, pulled.built) == (done.after.ref, remote.digest, True)
        assert not ensured(replace(spec, image=done.after.ref), docker_engine, tmp_path).built
        gone = replace(spec, image=f"{named.repository}:2.0@sha256:{'1' * 64}")
        with pytest.raises(DeploymentError, match="no_image"):
            ensured(gone, docker_engine, tmp_path)


def test_images_carry_the_server_they_are_of(docker_engine: Running, tmp_path: Path) -> None:
    image = ensured(toy(tmp_path, ""), docker_engine, tmp_path)
    (inspected,) = json.loads(docker(docker_engine, "inspect", image.ref))
    assert inspected["Config"]["Labels"] == {SERVER_LABEL: "toy"}
    assert inspected["Config"]["User"] == "server"
