"""`nightbench export`."""

from collections.abc import Callable
from pathlib import Path

from dashboards.report.format import in_words, size
from export.isolated import Prepared
from flows.console import open_console
from flows.registry import load_catalog
from nightbench.errors import UsageError, nearest
from nightbench.model import Format, Precision
from nightbench.settings import Settings
from nightbench.stopping import never
from nightbench.suite import ExportLimits
from tasks.export import POOL_COUNT, tools_for

__all__ = ["export", "prepared"]


def export(
    model: str,
    /,
    *,
    format: Format | None = None,  # noqa: A002 - the option's name
    precision: Precision = Precision.FP32,
    weights: str | None = None,
) -> None:
    """Export one model to one format, or find it in the cache, and print where it is.

    Parameters
    ----------
    model
        A model of the zoo.
    format
        The file format; by default the model's first.
    precision
        What weights and arithmetic are held in.
    weights
        `random`, a hub id or a folder; by default what the model says.
    """
    settings, console = Settings.from_environment(), open_console()
    with console.status(f"exporting {model}") as status:
        result = prepared(model, format, precision, weights, settings, status.update)
    artifact = result.artifact
    took = "found in the cache" if result.cached else f"made in {in_words(artifact.export_ns)}"
    console.print(f"{artifact.path}", soft_wrap=True)
    console.print(f"sha256 {artifact.sha256}, {size(artifact.size_bytes)}, {took}")


def prepared(
    model: str,
    file_format: Format | None,
    precision: Precision,
    weights: str | None,
    settings: Settings,
    doing: Callable[[str], None],
    should_stop: Callable[[], bool] = never,
) -> Prepared:
    """Export and parity of one model in its first format or another, from the cache where they are there.

    ``doing`` is told in words what takes time.

    Raises:
        UsageError: there is no such model.
        ExportError: it cannot be exported.
    """
    from export.isolated import prepare

    models = load_catalog(settings).models
    if model not in models:
        raise UsageError(f"model {model!r} is unknown; {nearest(model, models)}")
    limits = ExportLimits()
    file_format = file_format or models[model].formats[0]
    log = settings.home / "logs" / f"export-{model}-{file_format}-{precision}.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"export: {log.parent} cannot be made: {error.strerror}; set NIGHTBENCH_HOME") from error
    return prepare(
        models[model],
        file_format,
        precision,
        weights or models[model].default_weights,
        cache=Path(settings.artifacts),
        pool_count=POOL_COUNT,
        batches=(1, 4, 8),
        log=log,
        timeout_s=limits.timeout_s,
        memory_bytes=int(limits.memory_gib * 2**30),
        tools=tools_for(settings, file_format, log.with_name(f"environment-{file_format}.log"), doing, should_stop),
        should_stop=should_stop,
    )
