"""Triton's model repository: its tracked half, and filling it for use by hand.

``python -m export.repository`` writes ``<model>/config.pbtxt`` anew for every model of the zoo that Triton serves;
these are tracked. ``--fill MODEL`` exports models and lays version folders and warm-up data beside them; those are not.
What a night measures is laid out for each deployment, with the options of its suite.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from nightbench.errors import ExportError, NightbenchError, UsageError, nearest
from nightbench.model import Format, ModelSpec, Precision
from nightbench.server import OptionValue
from nightbench.settings import Settings

__all__ = ["POOL_COUNT", "REPOSITORY", "SERVING", "fill", "main", "served_as", "write_repository"]

REPOSITORY = Path(__file__).parents[1] / "model_repository"

SERVING: Mapping[str, OptionValue] = {"dynamic_batching": True, "model_warmup": 1}
"""Where the tracked configurations are not Triton's defaults: they are for serving, not for comparing servers."""

POOL_COUNT = 8
"""Inputs that a filled-in model was checked with."""


def served_as(spec: ModelSpec) -> Format | None:
    """The format in which Triton serves it, or ``None``."""
    from servers.triton import SERVER
    from servers.triton.repository import serves

    return next((each for each in SERVER.formats if each in spec.formats and serves(spec, each)), None)


def write_repository(root: Path, specs: Iterable[ModelSpec]) -> tuple[Path, ...]:
    """Write the configurations of every model that Triton serves here below ``root``, and return the files.

    A model of several stages has one more for each. Those that are current stay untouched, and folders of other models
    are left alone.
    """
    from servers.triton import SERVER
    from servers.triton.repository import placed

    options = SERVER.resolve(SERVING)
    written: list[Path] = []
    for spec in specs:
        file_format = served_as(spec)
        for model in placed(spec, file_format, options) if file_format else ():
            path = root / model.name / "config.pbtxt"
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_text(encoding="utf-8") != model.config:
                path.write_text(model.config, encoding="utf-8")
            written.append(path)
    return tuple(written)


def fill(root: Path, spec: ModelSpec, cache: Path, log: Path) -> Path:
    """Put the exported model, checked against PyTorch, into its version's folder below ``root``; that folder.

    Raises `UsageError` for a model that Triton does not serve, and `ExportError`, also where parity fails.
    """
    from export.isolated import prepare
    from servers.triton import SERVER
    from servers.triton.repository import check_signature, lay_out, placed, version_of

    file_format = served_as(spec)
    if file_format is None:
        raise UsageError(
            f"Triton alone does not serve {spec.name}, which is to be had as {', '.join(spec.formats)}; "
            "choose another model"
        )
    prepared = prepare(
        spec, file_format, Precision.FP32, spec.default_weights, cache=cache, pool_count=POOL_COUNT, log=log
    )
    if failed := next((each for each in prepared.parity if not each.passed), None):
        raise ExportError(f"{spec.name} as {file_format} does not answer as PyTorch does: {failed.detail}")
    artifact = prepared.artifact
    check_signature(spec, artifact)
    folders = lay_out(root, placed(spec, file_format, SERVER.resolve(SERVING)), artifact)
    return folders[0] / str(version_of(artifact.sha256))


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 2 for a mistake, 1 where an export failed."""
    from export import zoo

    parser = argparse.ArgumentParser(prog="python -m export.repository", description=__doc__)
    parser.add_argument("--fill", nargs="+", metavar="MODEL", default=[], help="models to export and place")
    parser.add_argument("--to", type=Path, default=REPOSITORY, metavar="FOLDER", help="default: %(default)s")
    asked = parser.parse_args(argv)
    models, settings = zoo.models(), Settings.from_environment()
    try:
        for name in asked.fill:
            if name not in models:
                raise UsageError(f"model {name!r} is unknown; {nearest(name, models)}")
        for name in asked.fill:
            print(_short(fill(asked.to, models[name], settings.artifacts, settings.home / "repository.log")))
        if not asked.fill:
            for path in write_repository(asked.to, models.values()):
                print(_short(path))
    except NightbenchError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


def _short(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


if __name__ == "__main__":
    raise SystemExit(main())
