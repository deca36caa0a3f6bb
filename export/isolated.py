"""The door other rooms use: exporting, inputs and parity, without torch in their process."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from export.cache import Cache, NotCached
from export.child import run_child
from export.job import Job, Prepared, prepare_with
from export.parity import BATCHES
from export.signature import LARGEST_BYTES
from nightbench.errors import ExportError
from nightbench.model import Format, ModelSpec, Precision
from nightbench.stopping import never

__all__ = ["Prepared", "found", "prepare"]


def found(
    spec: ModelSpec,
    format: Format,  # noqa: A002  the name the records give it
    precision: Precision,
    weights: str,
    cache: Path,
    pool_count: int,
    batches: tuple[int, ...] = BATCHES,
    tools: Mapping[str, Path] = MappingProxyType({}),
) -> Prepared | None:
    """What `prepare` would give, if all of it lies whole in the cache, and can be told from it in this process.

    A large ONNX file is read, and may be looked up, in the child alone.
    """
    try:
        if (_file_bytes(spec) or 0) > LARGEST_BYTES and Format.ONNX in spec.formats:
            return None
        job = Job(spec, format, precision, weights, cache, pool_count, batches, dict(tools))
        return prepare_with(Cache(cache, may_make=False), job)
    except NotCached:
        return None


def prepare(
    spec: ModelSpec,
    format: Format,  # noqa: A002  the name the records give it
    precision: Precision,
    weights: str,
    cache: Path,
    pool_count: int,
    batches: tuple[int, ...] = BATCHES,
    *,
    log: Path,
    timeout_s: float = 1800.0,
    memory_bytes: int | None = None,
    tools: Mapping[str, Path] = MappingProxyType({}),
    should_stop: Callable[[], bool] = never,
) -> Prepared:
    """The artifact, the input pool and the parity results of one model in one format.

    What lies whole in the cache (`nightbench.settings.Settings.artifacts`) is answered at once. Anything else is made
    in a child process, which appends its noise to ``log`` and dies with this one, and is ended when it takes longer
    than ``timeout_s`` or holds more than ``memory_bytes``. ``tools`` are the interpreters that the format's
    `export.formats.base.Exporter.environments` name. A failed parity check is a result.

    Raises `ExportError` with one sentence when there is no artifact, and `Stopped` soon after ``should_stop`` turns
    true while the child works; its whole process group is killed then, and what it began counts for nothing.
    """
    if memory_bytes is not None:
        _check_size(spec, memory_bytes)
    there = found(spec, format, precision, weights, cache, pool_count, batches, tools)
    if there is not None:
        return there
    # The child finds out again what is missing or broken, under the lock.
    job = Job(spec, format, precision, weights, cache, pool_count, batches, dict(tools))
    try:
        return run_child(job, log, timeout_s, should_stop, memory_bytes=memory_bytes)
    except ExportError:
        # The artifact and its verdict are kept before the layer that strays is looked for: that must not cost them.
        kept = found(spec, format, precision, weights, cache, pool_count, batches, tools)
        if kept is None:
            raise
        return kept
    except OSError as error:
        raise ExportError(
            f"no process can be started to export {spec.name}, or {log} cannot be written: {error.strerror}"
        ) from error


def _check_size(spec: ModelSpec, memory_bytes: int) -> None:
    """Refuse a file that cannot be loaded before it is tried. What a factory builds shows only when it is built."""
    size_bytes = _file_bytes(spec)
    if size_bytes is not None and size_bytes > memory_bytes:
        file = spec.custom.file if spec.custom else ""
        raise ExportError(
            f"model {spec.name} is larger than the memory to export it in: {file} has {size_bytes / 2**30:.2f} GiB "
            f"of {memory_bytes / 2**30:.2f}; raise 'memory_gib' of the suite's 'export'"
        )


def _file_bytes(spec: ModelSpec) -> int | None:
    """The size of the user's file, if the model is one; `ExportError` where it is gone."""
    file = None if spec.custom is None else spec.custom.file
    if file is None:
        return None
    try:
        return file.stat().st_size
    except OSError as error:
        raise ExportError(f"model {spec.name}: {file} cannot be read: {error.strerror}; put it back") from error
