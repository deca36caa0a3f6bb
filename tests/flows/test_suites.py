"""The suites that come with nightbench can be planned, and leave no server out."""

from pathlib import Path

import pytest

import servers
from export import zoo
from flows.registry import SUITES
from nightbench.catalog import Catalog, resolve
from nightbench.suite import load_suite

CATALOG = Catalog(zoo.models(), servers.discover())


@pytest.mark.parametrize("path", sorted(SUITES.glob("*.yaml")), ids=lambda path: path.stem)
def test_it_can_be_planned(path: Path) -> None:
    suite, _ = load_suite(path)
    assert suite.name == path.stem
    assert resolve(suite, CATALOG, str(path)).cells


def test_every_server_that_is_a_process_is_in_the_suite_of_servers() -> None:
    path = SUITES / "servers.yaml"
    suite, _ = load_suite(path)
    planned = {replicate.setup.server for replicate in resolve(suite, CATALOG, str(path)).replicates}
    assert planned == {name for name, spec in CATALOG.servers.items() if spec.process}
