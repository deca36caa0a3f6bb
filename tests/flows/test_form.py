"""What the Custom-run form offers, and that Prefect refuses the rest."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import ValidationError, validate

from flows.form import night_form
from flows.nightly import nightly
from flows.registry import SUITES, load_catalog
from nightbench.changes import Changes, changed
from nightbench.errors import UsageError
from nightbench.settings import Settings
from nightbench.suite import load_suite

CATALOG = load_catalog(Settings.from_environment({"HOME": "/nowhere"}))
SMOKE, TEXT = load_suite(SUITES / "smoke.yaml")
FORM = night_form(parameter_schema(nightly.fn).model_dump_for_openapi(), CATALOG, ["smoke", "nightly"])


def refused(parameters: dict[str, Any]) -> bool:
    try:
        validate(parameters, FORM, raise_on_error=True)
    except ValidationError:
        return True
    return False


def test_every_field_says_what_it_is_for_and_has_a_default_that_is_accepted() -> None:
    fields = FORM["properties"]
    assert list(fields) == [
        "suite",
        "servers",
        "models",
        "formats",
        "protocols",
        "batches",
        "rounds",
        "duration_s",
        "seed",
        "resume",
    ]
    assert all(field["description"] for field in fields.values())
    assert FORM.get("required", []) == []
    assert not refused({name: field["default"] for name, field in fields.items() if "default" in field})


def test_the_choices_are_those_of_the_registries() -> None:
    fields = FORM["properties"]
    assert fields["suite"]["enum"] == ["nightly", "smoke"]
    assert fields["servers"]["items"]["enum"] == sorted(CATALOG.servers)
    assert fields["models"]["items"]["enum"] == sorted(CATALOG.models)
    # Flat, for the form to draw a field and not a choice of types.
    assert not any("anyOf" in field for field in fields.values())


@pytest.mark.parametrize(
    "parameters",
    [
        {"suite": "smokey"},
        {"servers": ["fastapy"]},
        {"servers": ["fastapi", "fastapi"]},
        {"servers": "fastapi"},
        {"batches": [0]},
        {"rounds": 1.5},
        {"rounds": -1},
        {"duration_s": -0.1},
        {"seed": -1},
        {"sevrers": []},
    ],
)
def test_a_wrong_value_does_not_get_past_it(parameters: dict[str, Any]) -> None:
    assert refused(parameters)


NUMBERS = st.one_of(st.integers(-10, 200), st.floats(-10, 5000, allow_nan=False))


@given(rounds=st.integers(-10, 200), duration_s=NUMBERS, batches=st.lists(st.integers(-2, 4), unique=True))
def test_the_form_refuses_exactly_what_the_run_would(rounds: int, duration_s: float, batches: list[int]) -> None:
    try:
        changed(SMOKE, TEXT, Changes(batches=tuple(batches), rounds=rounds, duration_s=duration_s), CATALOG)
    except UsageError:
        wrong = True
    else:
        wrong = False
    assert refused({"rounds": rounds, "duration_s": duration_s, "batches": batches}) == wrong
