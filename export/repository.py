"""Triton's model repository, as it is tracked: ``<model>/config.pbtxt`` for every model of the zoo that it serves.

``python -m export.repository`` writes it anew. It holds the configuration with Triton's default options; the version
folders beside it, with the model itself, are made for each deployment and never tracked.
"""

from collections.abc import Iterable
from pathlib import Path

from nightbench.model import ModelSpec

__all__ = ["REPOSITORY", "write_repository"]

REPOSITORY = Path(__file__).parents[1] / "model_repository"


def write_repository(root: Path, specs: Iterable[ModelSpec]) -> tuple[Path, ...]:
    """Write the configuration of every model that Triton serves here below ``root``, and return the files.

    Those that are current stay untouched, and folders of other models are left alone.
    """
    from servers.triton import SERVER
    from servers.triton.config import config_pbtxt

    options = SERVER.resolve({})
    written: list[Path] = []
    for spec in specs:
        if set(spec.formats).isdisjoint(SERVER.formats):
            continue
        path = root / spec.name / "config.pbtxt"
        text = config_pbtxt(spec, options, int(options["max_batch_size"]))
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
        written.append(path)
    return tuple(written)


def main() -> None:
    from export import zoo

    for path in write_repository(REPOSITORY, zoo.models().values()):
        print(path.relative_to(REPOSITORY.parent))


if __name__ == "__main__":
    main()
