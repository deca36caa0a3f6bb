"""`nightbench export`."""

from pathlib import Path

from dashboards.report.format import in_words, size
from export.isolated import Prepared
from flows.console import open_console
from flows.registry import load_catalog
from nightbench.errors import UsageError, nearest
from nightbench.model import Format, Precision
from nightbench.settings import Settings
from tasks.export import EXPORT_TIMEOUT_S, POOL_COUNT

__all__ = ["export", "prepared"]


def export(model: str, /, *, format: Format | None = None, weights: str | None = None) -> None:  # noqa: A002 - the option's name
    """Export one model to one format, or find it in the cache, and print where it is.

    Parameters
    ----------
    model
        A model of the zoo.
    format
        The file format; by default the model's first.
    weights
        `random` or a hub id; by default what the model says.
    """
    settings, console = Settings.from_environment(), open_console()
    with console.status(f"exporting {model}"):
        result = prepared(model, format, weights, settings)
    artifact = result.artifact
    took = "found in the cache" if result.cached else f"made in {in_words(artifact.export_ns)}"
    console.print(f"{artifact.path}", soft_wrap=True)
    console.print(f"sha256 {artifact.sha256}, {size(artifact.size_bytes)}, {took}")


def prepared(model: str, file_format: Format | None, weights: str | None, settings: Settings) -> Prepared:
    """Export and parity of one model in its first format or another, from the cache where they are there.

    Raises:
        UsageError: there is no such model.
        ExportError: it cannot be exported.
    """
    from export.isolated import prepare

    models = load_catalog(settings).models
    if model not in models:
        raise UsageError(f"model {model!r} is unknown; {nearest(model, models)}")
    file_format = file_format or models[model].formats[0]
    log = settings.home / "logs" / f"export-{model}-{file_format}.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"export: {log.parent} cannot be made: {error.strerror}; set NIGHTBENCH_HOME") from error
    return prepare(
        models[model],
        file_format,
        Precision.FP32,
        weights or models[model].default_weights,
        cache=Path(settings.artifacts),
        pool_count=POOL_COUNT,
        batches=(1, 4, 8),
        log=log,
        timeout_s=EXPORT_TIMEOUT_S,
    )
