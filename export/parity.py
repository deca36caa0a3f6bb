"""Does the artifact still say what PyTorch said? Asked at several batch sizes, before anything is timed."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from export.cache import Cache, Request
from export.compare import OutputParity, compare, incomparable
from export.draw import Arrays
from export.failure import one_line
from export.formats.base import Runner, exporter, runtime_version
from export.pool import load_pool
from nightbench.model import Artifact, InputPool, ModelSpec

__all__ = ["BATCHES", "check", "checked"]

BATCHES = (1, 4, 8)

_VERSION = 1
"""Raised when a figure changes its meaning."""


def check(
    spec: ModelSpec, artifact: Artifact, pool: InputPool, batches: tuple[int, ...] = BATCHES
) -> tuple[OutputParity, ...]:
    """Run the artifact on the whole pool at each batch size; one result an output and batch size.

    An artifact that does not load, or fails at a batch size, has not passed: that is a result, never an exception.
    """
    inputs, want = load_pool(pool)
    try:
        run: Runner | str = exporter(artifact.format).open(artifact.path, spec)
    except MemoryError:
        raise  # says something about this machine, not about the artifact
    except Exception as error:  # noqa: BLE001  a runtime may raise anything at all for a bad file
        run = f"the artifact does not load: {one_line(error)}"
    results: list[OutputParity] = []
    for batch in batches:
        got = run if isinstance(run, str) else _answers(run, inputs, batch)
        for position, output in enumerate(spec.outputs):
            classes = spec.classifier and position == 0
            if isinstance(got, str):
                results.append(incomparable(output.name, batch, classes, got))
            else:
                taken = _wrapped(len(want[output.name]), batch)
                have, wish = got[output.name], want[output.name][taken]
                results.append(compare(output.name, batch, have, wish, spec.tolerance, classes))
    return tuple(results)


def _wrapped(count: int, batch: int) -> Any:
    """The pool's positions in order, from the start again until the last batch is full."""
    return np.arange(-(-count // batch) * batch) % count


def _answers(run: Runner, inputs: Arrays, batch: int) -> Arrays | str:
    """The whole pool's outputs, batch by batch; or why there are none."""
    taken = _wrapped(len(next(iter(inputs.values()))), batch)
    parts: list[Arrays] = []
    try:
        for start in range(0, len(taken), batch):
            rows = taken[start : start + batch]
            parts.append(run({name: array[rows] for name, array in inputs.items()}))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  a runtime may raise anything at all for a bad graph
        return f"the artifact fails at batch {batch}: {one_line(error)}"


def checked(
    spec: ModelSpec, artifact: Artifact, pool: InputPool, batches: tuple[int, ...], cache: Cache
) -> tuple[OutputParity, ...]:
    """`check`, cached for the same bytes, pool, tolerance and runtime."""
    request = Request(
        label=f"{spec.name}-{artifact.format}-{artifact.precision}-parity",
        suffix=".json",
        facts={
            "artifact": artifact.sha256,
            "pool": pool.sha256,
            "batches": list(batches),
            "model": asdict(spec),
            "parity": _VERSION,
            "runtime": runtime_version(exporter(artifact.format).runtime),
        },
        purpose=f"checking {spec.name} in {artifact.format}",
    )

    def make(path: Path) -> Mapping[str, Any]:
        results = [asdict(result) for result in check(spec, artifact, pool, batches)]
        path.write_text(json.dumps(results, indent=2, allow_nan=False) + "\n")
        return {"passed": all(result["passed"] for result in results)}

    entry = cache.get(request, make)
    return tuple(OutputParity(**result) for result in json.loads(entry.path.read_text()))
