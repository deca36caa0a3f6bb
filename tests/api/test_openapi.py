"""Schemathesis takes the API at its word: what the OpenAPI document allows is tried, and so is what it forbids."""

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import from_schema
from schemathesis.engine.events import FatalError, NonFatalError, ScenarioFinished

from nightbench.access import Role
from tests.api.conftest import Site

CONFIG = {
    "generation": {"max-examples": 15, "deterministic": True},
    # What is right in itself may still name a run that is not there (404), a name that is taken (409), or contradict
    # itself where no schema can say so: an end before its beginning, a suite that nobody deployed (400).
    "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "400", "404", "409"]}},
}


@pytest.fixture
def config(site: Site) -> SchemathesisConfig:
    return SchemathesisConfig.from_dict({**CONFIG, "headers": {"Authorization": f"Bearer {site.keys[Role.ADMIN]}"}})


def test_the_api_keeps_what_its_document_says(site: Site, config: SchemathesisConfig) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", site.client.app, config=config)
    failures: dict[str, str] = {}
    asked: set[str] = set()
    for event in from_schema(schema).execute():
        if isinstance(event, FatalError | NonFatalError):
            failures[str(event)] = ""
        if not isinstance(event, ScenarioFinished):
            continue
        recorder = event.recorder
        for case_id, checks in recorder.checks.items():
            case = recorder.cases[case_id].value
            asked.add(case.operation.label)
            for check in checks:
                if check.failure_info is not None:
                    failures[f"{case.operation.label}: {check.name}"] = str(check.failure_info.failure)
    assert failures == {}
    assert len(asked) == sum(1 for _ in schema.get_all_operations())
