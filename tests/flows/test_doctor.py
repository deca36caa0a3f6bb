"""The doctor looks where a run would look."""

from pathlib import Path

import pytest

from flows.commands.doctor import findings
from nightbench.settings import Settings
from tests.flows.conftest import TOYS


@pytest.mark.parametrize(("environments", "there"), [("host", True), ("pinned", False)])
def test_a_server_is_there_where_its_environment_is(tmp_path: Path, environments: str, there: bool) -> None:
    settings = Settings.from_environment(
        {
            "NIGHTBENCH_HOME": str(tmp_path),
            "NIGHTBENCH_CACHE": str(tmp_path),
            "NIGHTBENCH_SERVERS_PATH": str(TOYS),
            "NIGHTBENCH_ENVIRONMENTS": environments,
        }
    )
    (toy,) = (finding for finding in findings(settings) if finding.what == "server toy")
    assert toy.ok is there
    assert toy.ok or toy.remedy
