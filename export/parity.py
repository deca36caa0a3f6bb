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

__all__ = ["BATCHES", "check", "checked", "explained"]

BATCHES = (1, 4, 8)

_VERSION = 3
"""Raised when a figure changes its meaning."""
_LAYERS_VERSION = 1
"""Likewise, when the search for layers does."""


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
    for batch in batches:
        got = run if isinstance(run, str) else _answers(run, inputs, batch)
        if isinstance(got, str):
            results += (
                incomparable(output.name, batch, got, classes=spec.classifier and not position, answered=False)
                for position, output in enumerate(spec.outputs)
            )
            continue
        taken = _wrapped(pool.count, batch)
        wish = {name: array[taken] for name, array in want.items()}
        results += compare_all(
            spec.outputs, batch, [got], [wish], tolerance, classifier=spec.classifier, language=spec.language
        )
    return tuple(results)


def explained(
    spec: ModelSpec,
    artifact: Artifact,
    pool: InputPool,
    results: Sequence[OutputParity],
    tools: Mapping[str, Path],
    scratch: Path,
) -> dict[str, str | None]:
    """The layer where each output goes wrong that was computed and failed at some batch size; see `diverges_at`."""
    inputs, _ = load_pool(pool)
    deadline_s = time.monotonic() + BUDGET_S
    blamed = {each.output for each in results if _computed(each)}
    return {
        output.name: diverges_at(spec, artifact, position, inputs, tools, deadline_s, scratch)
        for position, output in enumerate(spec.outputs)
        if output.name in blamed
    }


def _computed(result: OutputParity) -> bool:
    """Whether it failed by its numbers, so that there is a layer to blame."""
    return not result.passed and result.answered


def cpu_model() -> str:
    """Runtimes choose their kernels by it, and so round in other ways; empty where it cannot be told."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


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
    """`check`, cached for the same bytes, pool, tolerance, runtime and kind of CPU, with the layers that stray.

    Those are looked for once the verdict is in the cache, and no second time: a search that was killed, for its memory
    or its time, costs the next process its explanation, not the verdict.
    """
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
            "cpu": cpu_model(),
        },
        purpose=f"checking {spec.name} in {artifact.format}",
    )

    def make(path: Path) -> Mapping[str, Any]:
        results = [asdict(result) for result in check(spec, artifact, pool, batches, tools)]
        path.write_text(json.dumps(results, indent=2, allow_nan=False) + "\n")
        return {"passed": all(result["passed"] for result in results)}

    verdict = cache.get(request, make)
    results = tuple(OutputParity(**result) for result in json.loads(verdict.path.read_text()))
    if not any(map(_computed, results)):
        return results

    def search(path: Path) -> Mapping[str, Any]:
        layers = {} if verdict.cached else explained(spec, artifact, pool, results, tools, path.parent)
        path.write_text(json.dumps(layers, indent=2) + "\n")
        return {"searched": not verdict.cached}

    asked = replace(request, label=f"{request.label}-layers", facts={**request.facts, "layers": _LAYERS_VERSION})
    # To say that nothing was found takes no child process: also who may not make anything says so.
    known = (Cache(cache.root) if verdict.cached else cache).get(asked, search)
    layers = json.loads(known.path.read_text())
    return tuple(replace(each, diverges_at=layers.get(each.output)) if _computed(each) else each for each in results)
