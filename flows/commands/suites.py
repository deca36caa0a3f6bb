"""`nightbench suites`."""

from flows.console import open_console, table
from flows.registry import SUITES, load_catalog
from nightbench.catalog import resolve
from nightbench.settings import Settings
from nightbench.suite import load_suite

__all__ = ["suites"]


def suites() -> None:
    """List the suites that come with nightbench."""
    catalog = load_catalog(Settings.from_environment())
    rows = []
    for path in sorted(SUITES.glob("*.yaml")):
        suite, _ = load_suite(path)
        night = resolve(suite, catalog, str(path))
        rows.append(
            {
                "suite": path.stem,
                "cells": str(len(night.cells)),
                "rounds": str(suite.rounds),
                "description": suite.description,
            }
        )
    open_console().print(table("suites", rows))
