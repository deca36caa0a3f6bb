"""A stand-in for an image registry: one tiny image, by tag and by digest (OCI distribution specification, pulling)."""

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass(frozen=True)
class Registry:
    """One that answers on loopback, which engines speak plain HTTP to."""

    host: str
    digest: str
    """Of its one image, whatever repository and tag it is asked for."""


def _digest(data: bytes) -> str:
    return f"sha256:{sha256(data).hexdigest()}"


def _image() -> tuple[bytes, dict[str, bytes]]:
    """A manifest, and the blobs that it names."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        entry = tarfile.TarInfo("hello")
        entry.size = 5
        archive.addfile(entry, io.BytesIO(b"hello"))
    layer = gzip.compress(raw.getvalue(), mtime=0)
    rootfs = {"type": "layers", "diff_ids": [_digest(raw.getvalue())]}
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}).encode()
    described = [
        {"mediaType": f"application/vnd.docker.{kind}", "size": len(data), "digest": _digest(data)}
        for kind, data in (("container.image.v1+json", config), ("image.rootfs.diff.tar.gzip", layer))
    ]
    manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": described[0], "layers": described[1:]}
    return json.dumps(manifest).encode(), {_digest(data): data for data in (config, layer)}


@contextmanager
def registry() -> Iterator[Registry]:
    """One for the length of a block."""
    manifest, blobs = _image()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            kind, _, what = self.path.rpartition("/")
            if self.path == "/v2/":
                self._say(b"{}", "application/json")
            elif kind.endswith("/manifests") and what in {"1.0", "2.0", _digest(manifest)}:
                self._say(manifest, _MANIFEST)
            elif kind.endswith("/blobs") and what in blobs:
                self._say(blobs[what], "application/octet-stream")
            else:
                said = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
                self._say(json.dumps(said).encode(), "application/json", 404)

        def _say(self, body: bytes, kind: str, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
            self.send_header("Docker-Content-Digest", _digest(body))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Registry(f"127.0.0.1:{server.server_port}", _digest(manifest))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
