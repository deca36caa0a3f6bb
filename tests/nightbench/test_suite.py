"""A suite file with a mistake in it earns one sentence that names the place, the value and the remedy."""

from pathlib import Path

import pytest

from nightbench.errors import UsageError
from nightbench.load import Arrival, ClosedLoop, OpenLoop
from nightbench.suite import load_suite, parse_suite

GOOD = """
name: s
sweeps:
  - models: [m]
    servers: [a]
    loads: [{closed: 1}]
"""


def test_names_may_stand_for_whole_entries_and_loads_are_of_two_kinds() -> None:
    suite = parse_suite(GOOD.replace("[{closed: 1}]", "[{closed: 4}, {open: {rate_rps: 20, arrival: constant}}]"), "s")
    sweep = suite.sweeps[0]
    assert sweep.models[0].name == "m"
    assert [entry.load for entry in sweep.loads] == [ClosedLoop(4), OpenLoop(20.0, Arrival.CONSTANT)]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("name: s", "name: s\nrouns: 3", "rouns: unknown key 'rouns'; did you mean 'rounds'?"),
        ("closed: 1", "closd: 1", "sweeps.0.loads.0.closd: unknown key 'closd'; did you mean 'closed'?"),
        ("closed: 1", "closed: 0", "sweeps.0.loads.0.closed: 0 is wrong; it should be greater than 0"),
        ("closed: 1", "closed: -3", "sweeps.0.loads.0.closed: -3 is wrong; it should be greater than 0"),
        ("{closed: 1}", "{open: {rate_rps: 0}}", "sweeps.0.loads.0.open.rate_rps: 0 is wrong; it should be greater"),
        (
            "{closed: 1}",
            "{open: {rate_rps: 5, arrival: poison}}",
            "arrival: 'poison' is unknown; did you mean 'poisson'?",
        ),
        ("{closed: 1}", "{closed: 1, open: {rate_rps: 1}}", "a load is either 'closed: CONCURRENCY' or 'open:"),
        ("[a]", "[{name: a, format: onx}]", "servers.0.format: 'onx' is unknown; did you mean 'onnx'?"),
        ("[a]", "[{name: a, protocols: [raw-htp]}]", "protocols.0: 'raw-htp' is unknown; did you mean 'raw-http'?"),
        ("[m]", "3", "sweeps.0.models: 3 is wrong; it should be a list"),
        ("name: s", "", "name: is missing; add the key 'name'"),
        ("name: s", "name: s\nrounds: 0", "rounds: 0 is wrong; it should be greater than 0"),
        ("name: s", "name: s\nmeasure: {duration_s: 0}", "measure.duration_s: 0 is wrong; it should be greater than 0"),
        ("name: s", "name: s\nmeasure: {duration_s: .inf}", "measure.duration_s: inf is wrong; it should be a finite"),
        ("name: s", "name: s\nname: t", "line 3: is not valid YAML: key 'name' stands twice; correct that line"),
        (GOOD, "[a, b]", "x.yaml: is a list, not a mapping; start it with `name:` and `sweeps:`"),
        (GOOD, "", "x.yaml: is empty, not a mapping"),
        (GOOD, "a: [", "x.yaml, line 1: is not valid YAML"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_remedy(old: str, new: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_suite(GOOD.replace(old, new), "x.yaml")
    message = str(caught.value)
    assert message.startswith("x.yaml")
    assert sentence in message
    assert "\n" not in message


def test_a_misspelt_key_is_named_before_the_keys_it_makes_look_missing() -> None:
    with pytest.raises(UsageError, match="did you mean 'models'"):
        parse_suite(GOOD.replace("models:", "modles:"), "x.yaml")


def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        load_suite(tmp_path / "absent.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is not UTF-8 text"):
        load_suite(binary)


def test_yaml_tags_cannot_run_code() -> None:
    with pytest.raises(UsageError, match="is not valid YAML"):
        parse_suite("name: !!python/object/apply:os.system ['true']", "x.yaml")
