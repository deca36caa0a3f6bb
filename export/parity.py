"""Does the artifact still say what PyTorch said? Asked at several batch sizes, before anything is timed."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from export.cache import Cache, Request
from export.diverge import BUDGET_S, diverges_at
from export.draw import Arrays
from export.failure import one_line
from export.formats.base import Runner, exporter, graph_facts, runtime_version
from export.pool import load_pool
from nightbench.model import Artifact, InputPool, ModelSpec
from nightbench.parity import OutputParity, compare_all, incomparable, tolerance_at

__all__ = ["BATCHES", "check", "checked"]

BATCHES = (1, 4, 8)

_VERSION = 2
"""Raised when a figure changes its meaning."""


def check(
    spec: ModelSpec,
    artifact: Artifact,
    pool: InputPool,
    batches: tuple[int, ...] = BATCHES,
    tools: Mapping[str, Path] = MappingProxyType({}),
) -> tuple[OutputParity, ...]:
    """Run the artifact on the whole pool at each batch size; one result an output and batch size.

    An artifact that does not load, or fails at a batch size, has not passed: that is a result, never an exception.
    """
    inputs, want = load_pool(pool)
    try:
        run: Runner | str = exporter(artifact.format).open(artifact.path, spec, tools)
    except MemoryError:
        raise  # says something about this machine, not about the artifact
    except Exception as error:  # noqa: BLE001  a runtime may raise anything at all for a bad file
        run = f"the artifact does not load: {one_line(error)}"
    tolerance = tolerance_at(spec, artifact.precision, artifact.weights)
    results: list[OutputParity] = []
    computed: set[int] = set()
    for batch in batches:
        got = run if isinstance(run, str) else _answers(run, inputs, batch)
        if isinstance(got, str):
            results += (
                incomparable(output.name, batch, got, classes=spec.classifier and not position)
                for position, output in enumerate(spec.outputs)
            )
            continue
        computed.add(batch)
        taken = _wrapped(pool.count, batch)
        wish = {name: array[taken] for name, array in want.items()}
        results += compare_all(
            spec.outputs, batch, [got], [wish], tolerance, classifier=spec.classifier, language=spec.language
        )
    return _explained(spec, artifact, inputs, tools, results, computed)


def _explained(
    spec: ModelSpec,
    artifact: Artifact,
    inputs: Arrays,
    tools: Mapping[str, Path],
    results: Sequence[OutputParity],
    computed: set[int],
) -> tuple[OutputParity, ...]:
    """With the layer where each output goes wrong that failed although it was ``computed`` at that batch size."""
    deadline_s = time.monotonic() + BUDGET_S
    blamed = {each.output for each in results if not each.passed and each.batch in computed}
    layers = {
        output.name: diverges_at(spec, artifact, position, inputs, tools, deadline_s)
        for position, output in enumerate(spec.outputs)
        if output.name in blamed
    }
    return tuple(
        each if each.passed or each.batch not in computed else replace(each, diverges_at=layers[each.output])
        for each in results
    )


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
    spec: ModelSpec,
    artifact: Artifact,
    pool: InputPool,
    batches: tuple[int, ...],
    cache: Cache,
    tools: Mapping[str, Path],
) -> tuple[OutputParity, ...]:
    """`check`, cached for the same bytes, pool, tolerance and runtime."""
    request = Request(
        label=f"{spec.name}-{artifact.format}-{artifact.precision}-parity",
        suffix=".json",
        facts={
            "artifact": artifact.sha256,
            "pool": pool.sha256,
            "batches": list(batches),
            "model": graph_facts(spec),
            "classifier": spec.classifier,
            "tolerance": asdict(tolerance_at(spec, artifact.precision, artifact.weights)),
            "parity": _VERSION,
            "runtime": runtime_version(exporter(artifact.format)),
        },
        purpose=f"checking {spec.name} in {artifact.format}",
    )

    def make(path: Path) -> Mapping[str, Any]:
        results = [asdict(result) for result in check(spec, artifact, pool, batches, tools)]
        path.write_text(json.dumps(results, indent=2, allow_nan=False) + "\n")
        return {"passed": all(result["passed"] for result in results)}

    entry = cache.get(request, make)
    return tuple(OutputParity(**result) for result in json.loads(entry.path.read_text()))
