"""Laying out one TorchServe instance: a model archive, its configuration, and the Java command that serves it."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

from nightbench.errors import DeploymentError
from nightbench.server import Command, ServeRequest
from servers.container import is_inside
from servers.raw_http import signature, thread_env

__all__ = ["command", "config_properties", "model_config", "packed", "serve"]

_MAX_BATCH = 4096
"""The most items in one request, as for the baselines."""
_MAX_BODY_BYTES = 2**31 - 1 - 2**16
"""TorchServe counts body bytes in a Java int, and adds to it."""
_ARCHIVE_TIMEOUT_S = 120.0
_LONGEST_SOCKET = 103
"""Bytes in the name of a Unix socket that every system takes."""


def command(request: ServeRequest) -> Command:
    """Serve one model. `DeploymentError` (``no_environment``) without Java, or if the archive cannot be made."""
    if is_inside(request):  # Java and the archiver are in the image, and this is not
        return serve(request, "java", packed(request))
    return serve(request, _java(), _archive(request))


def serve(request: ServeRequest, java: str, store: Path) -> Command:
    """Serve the one archive of a model store."""
    config = request.workdir / "config.properties"
    config.write_text(config_properties(request, store), encoding="utf-8")
    temporary = _temporary(request.workdir)
    return Command(
        argv=(
            java,
            # As `torchserve --start` would run it. That program stays between us and Java, and passes no signal on.
            f"-Dmodel_server_home={request.site_packages}",
            f"-Dlog4j.configurationFile={Path(__file__).with_name('log4j2.xml').as_uri()}",
            f"-Djava.io.tmpdir={temporary}",
            # It would go to /tmp, whatever the line above says.
            "-XX:-UsePerfData",
            *("-cp", str(request.site_packages / "ts" / "frontend" / "*")),
            "org.pytorch.serve.ModelServer",
            *("--python", str(request.python)),
            *("-f", str(config)),
            *("-s", str(store)),
            "-ncs",
            "--disable-token-auth",
        ),
        env={
            **thread_env(request.threads),
            "TMPDIR": str(temporary),
            "NIGHTBENCH_LOAD_TIME": str(request.load_time_path),
        },
    )


def model_config(request: ServeRequest) -> str:
    """``model-config.yaml`` inside the archive, in the part of YAML that is JSON; the handler reads all of it."""
    workers = request.options["default_workers_per_model"]
    return json.dumps(
        {
            "minWorkers": workers,
            "maxWorkers": workers,
            "batchSize": request.options["batch_size"],
            "maxBatchDelay": request.options["max_batch_delay"],
            "jobQueueSize": request.options["job_queue_size"],
            "deviceType": "cpu",
            "handler": {"threads": request.threads, "max_batch": _MAX_BATCH, **signature(request.model)},
        },
        indent=1,
    )


def config_properties(request: ServeRequest, store: Path) -> str:
    """``config.properties``: every address on loopback, every port its own, nothing fetched from anywhere."""
    name, ports = request.model.name, request.ports
    item_bytes = max(
        sum(tensor.item_bytes for tensor in tensors) for tensors in (request.model.inputs, request.model.outputs)
    )
    body_bytes = min(_MAX_BATCH * item_bytes, _MAX_BODY_BYTES)
    settings = {
        "inference_address": f"http://{request.host}:{ports['http']}",
        "management_address": f"http://{request.host}:{ports['management']}",
        "metrics_address": f"http://{request.host}:{ports['metrics']}",
        "grpc_inference_address": request.host,
        "grpc_inference_port": ports["grpc"],
        "grpc_management_address": request.host,
        "grpc_management_port": ports["grpc_management"],
        "model_store": store,
        "load_models": f"{name}={name}.mar",
        "allowed_urls": "file://.*",
        "default_workers_per_model": request.options["default_workers_per_model"],
        "job_queue_size": request.options["job_queue_size"],
        "number_of_gpu": 0,
        "max_request_size": body_bytes,
        "max_response_size": body_bytes,
        # Bodies are tensors: no worker need try to read text or JSON in one that says it is that.
        "decode_input_request": "false",
        "metrics_mode": "prometheus",
        # The handler's own counters, by which the size of batches is known.
        "model_metrics_auto_detect": "true",
        # Its collector is one more Python process every minute; the machine's figures are taken from outside.
        "disable_system_metrics": "true",
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def packed(request: ServeRequest) -> Path:
    """The model store with an archive like that of torch-model-archiver, made without it ("Torch Model archiver",
    TorchServe's documentation: a ZIP file, the manifest in ``MAR-INF``)."""
    store = request.workdir / "store"
    store.mkdir()
    handler = Path(__file__).with_name("serve.py")
    manifest = {
        "createdOn": "01/01/2026 00:00:00",
        "runtime": "python",
        "model": {
            "modelName": request.model.name,
            "serializedFile": request.artifact.path.name,
            "handler": handler.name,
            "modelVersion": "1.0",
            "configFile": "model-config.yaml",
        },
        "archiverVersion": "0.12.0",
    }
    with ZipFile(store / f"{request.model.name}.mar", "w", ZIP_STORED) as archive:
        archive.write(request.artifact.path, request.artifact.path.name)
        archive.write(handler, handler.name)
        archive.writestr("model-config.yaml", model_config(request))
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest, indent=1))
    return store


def _temporary(workdir: Path) -> Path:
    """Where TorchServe unpacks the model and its workers have their sockets."""
    folder = workdir / "tmp"
    socket = folder / ".ts.sock.99999"
    if len(os.fsencode(socket)) > _LONGEST_SOCKET:
        raise DeploymentError(
            "died",
            f"{socket} is too long for the name of a Unix socket, and TorchServe has them nowhere else; "
            "set TMPDIR to a folder of a shorter name",
        )
    folder.mkdir()
    return folder


def _java() -> str:
    found = shutil.which("java")
    if found is None:
        raise DeploymentError(
            "no_environment",
            "TorchServe needs Java 11 or later, and there is none on the PATH; "
            "install it (Debian: apt-get install openjdk-17-jre-headless)",
        )
    return found


def _archive(request: ServeRequest) -> Path:
    """The model store with the one archive in it, made by torch-model-archiver."""
    store = request.workdir / "store"
    store.mkdir()
    config = request.workdir / "model-config.yaml"
    config.write_text(model_config(request), encoding="utf-8")
    # torch-model-archiver first deletes the folder of the model's name in the temporary directory, whosever it is.
    own = request.workdir / "archiver"
    own.mkdir()
    done = subprocess.run(
        (
            *(str(request.python), "-I", "-m", "model_archiver.model_packaging"),
            *("--model-name", request.model.name),
            *("--version", "1.0"),
            *("--serialized-file", str(request.artifact.path)),
            *("--handler", str(Path(__file__).with_name("serve.py"))),
            *("--config-file", str(config)),
            *("--export-path", str(store)),
            # Weights do not shrink, and trying costs every deployment seconds.
            *("--archive-format", "zip-store"),
        ),
        env={"PATH": os.defpath, "TMPDIR": str(own)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_ARCHIVE_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise DeploymentError(
            "no_environment",
            f"torch-model-archiver made no archive of {request.artifact.path}",
            done.stdout + done.stderr,
        )
    return store
