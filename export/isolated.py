"""The door other rooms use: exporting, inputs and parity, without torch in their process."""

from collections.abc import Callable
from pathlib import Path

from export.cache import Cache, NotCached
from export.child import run_child
from export.job import Job, Prepared, prepare_with
from export.parity import BATCHES
from nightbench.errors import ExportError
from nightbench.model import Format, ModelSpec, Precision
from nightbench.stopping import never

__all__ = ["Prepared", "prepare"]


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
    should_stop: Callable[[], bool] = never,
) -> Prepared:
    """The artifact, the input pool and the parity results of one model in one format.

    What lies whole in the cache (`nightbench.settings.Settings.artifacts`) is answered at once. Anything else is made
    in a child process, which appends its noise to ``log`` and dies with this one. A failed parity check is a result.
    Raises `ExportError` with one sentence when there is no artifact, and `Stopped` soon after ``should_stop`` turns
    true while the child works; its whole process group is killed then, and what it began counts for nothing.
    """
    job = Job(spec, format, precision, weights, cache, pool_count, batches)
    try:
        return prepare_with(Cache(cache, may_make=False), job)
    except NotCached:
        pass  # the child finds out again what is missing or broken, under the lock
    try:
        return run_child(job, log, timeout_s, should_stop)
    except OSError as error:
        raise ExportError(
            f"no process can be started to export {spec.name}, or {log} cannot be written: {error.strerror}"
        ) from error
