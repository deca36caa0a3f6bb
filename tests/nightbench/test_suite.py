"""A suite file with a mistake in it earns one sentence that names the place, the value and the remedy."""

import re
from hashlib import sha256
from pathlib import Path
from textwrap import indent
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from nightbench.errors import UsageError
from nightbench.load import Arrival, ClosedLoop, Goal, Load, OpenLoop, PeakShare, Search, Trace
from nightbench.precision import Precision
from nightbench.suite import Suite, load_suite, parse_suite

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


def load_of(text: str, folder: Path = Path()) -> Load:
    return parse_suite(GOOD.replace("closed: 1", text), "x.yaml", folder).sweeps[0].loads[0].load


@pytest.mark.parametrize(
    ("text", "load"),
    [
        ("open: {rate_rps: 50, arrival: gamma, burstiness: 0.5}", OpenLoop(50.0, Arrival.GAMMA, 0.5)),
        ("open: {peak_share: 0.7}", PeakShare(0.7)),
        ("open: {peak_share: 1.2, arrival: gamma, burstiness: 2}", PeakShare(1.2, Arrival.GAMMA, 2.0)),
        ("search: peak", Search(Goal.PEAK)),
        ("search: {peak: {most_concurrent: 64}}", Search(Goal.PEAK, most_concurrent=64)),
        ("search: knee", Search(Goal.KNEE)),
        ("search: {knee: {}}", Search(Goal.KNEE)),
        ("search: {slo: {p99_ms: 50}}", Search(Goal.SLO, 50.0)),
        (
            "search: {slo: {p99_ms: 50, arrival: gamma, burstiness: 0.3}}",
            Search(Goal.SLO, 50.0, Arrival.GAMMA, 0.3),
        ),
    ],
)
def test_loads_that_are_bursty_relative_or_looked_for(text: str, load: Load) -> None:
    assert load_of(text) == load


def test_a_trace_lies_beside_the_suite_and_is_known_by_its_content(tmp_path: Path) -> None:
    content = b"0.0\n0.25\n0.5\n"
    (tmp_path / "arrivals.txt").write_bytes(content)
    file = tmp_path / "suite.yaml"
    file.write_text(GOOD.replace("closed: 1", "open: {trace: arrivals.txt, rate_rps: 50}"))
    load = load_suite(file)[0].sweeps[0].loads[0].load
    assert load == OpenLoop(50.0, Arrival.TRACE, trace=Trace("", sha256(content).hexdigest()))
    assert isinstance(load, OpenLoop)
    assert load.trace is not None
    assert load.trace.path == str(tmp_path / "arrivals.txt")
    assert load.label == f"trace {sha256(content).hexdigest()[:8]} 50 rps"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "a.txt cannot be read: No such file or directory; give the path"),
        (b"", "a.txt is empty; write one offset in seconds a line"),
        (b" \n", "a.txt is empty; write one offset"),
        (b"PK\x03\x04\x00\x00", "a.txt is not plain text; write one offset"),
        ("0.5 \u00b5s".encode("latin-1"), "a.txt is not plain text; write one offset"),
    ],
)
def test_a_trace_that_is_none_is_refused_before_any_work(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(UsageError, match=r"x\.yaml: sweeps\.0\.loads\.0\.open\.trace: ") as caught:
        load_of("open: {trace: a.txt, rate_rps: 50}", tmp_path)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def measured(text: str = "{}") -> Suite:
    return parse_suite(GOOD.replace("name: s", f"name: s\nmeasure: {text}"), "x.yaml")


def test_measuring_may_end_when_figures_are_known_well_enough() -> None:
    assert measured().measure.half_widths is None
    assert measured("{precision: {p50: 0.02, p99: 0.1}}").measure.half_widths == Precision(0.02, 0.1)
    assert measured("{precision: {p99: 0.1}}").measure.half_widths == Precision(None, 0.1)


def test_bounds_of_streams_are_kept_as_far_as_they_are_given() -> None:
    assert measured().measure.stream_slo == {}
    assert measured("{slo: {ttft_ms: 200, itl_ms: 50}}").measure.stream_slo == {"ttft_ms": 200.0, "itl_ms": 50.0}
    assert measured("{slo: {itl_ms: 50}}").measure.stream_slo == {"itl_ms": 50.0}


def test_the_load_generator_is_one_calibrated_process_unless_told_otherwise() -> None:
    assert (measured().measure.workers, measured().measure.calibrate) == (1, True)
    told = measured("{workers: 4, calibrate: false}").measure
    assert (told.workers, told.calibrate) == (4, False)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("name: s", "name: s\nrouns: 3", "rouns: unknown key 'rouns'; did you mean 'rounds'?"),
        (
            "name: s",
            "name: s\njudge: {confirm: {min_pairs: 8, max_pairs: 4}}",
            "judge.confirm: max_pairs is 4 and min_pairs 8, so nothing would ever be decided; raise max_pairs",
        ),
        (
            "name: s",
            "name: s\njudge: {min_nights: 200}",
            "judge: min_nights is 200 and baseline_nights 60, so nothing would ever be judged; lower min_nights",
        ),
        ("closed: 1", "closd: 1", "sweeps.0.loads.0.closd: unknown key 'closd'; did you mean 'closed'?"),
        ("closed: 1", "closed: 0", "sweeps.0.loads.0.closed: 0 is wrong; it should be greater than 0"),
        ("name: s", "name: Mine Suite", "name: 'Mine Suite' is wrong; it should match pattern '^"),
        ("closed: 1", "closed: two", "sweeps.0.loads.0.closed: 'two' is wrong; it should be a valid integer"),
        ("closed: 1", "closed: -3", "sweeps.0.loads.0.closed: -3 is wrong; it should be greater than 0"),
        ("{closed: 1}", "{open: {rate_rps: 0}}", "sweeps.0.loads.0.open.rate_rps: 0 is wrong; it should be greater"),
        (
            "{closed: 1}",
            "{open: {rate_rps: 5, arrival: poison}}",
            "arrival: 'poison' is unknown; did you mean 'poisson'?",
        ),
        ("{closed: 1}", "{closed: 1, open: {rate_rps: 1}}", "a load is either 'closed: CONCURRENCY' or 'open:"),
        ("closed: 1", "open: {}", "an open loop has either 'rate_rps: RATE' or 'peak_share: SHARE'; give one"),
        ("closed: 1", "open: {rate_rps: 5, peak_share: 0.7}", "an open loop has either 'rate_rps: RATE' or"),
        ("closed: 1", "open: {peak_share: 70}", "open.peak_share: 70 is wrong; it should be less than or equal to 2"),
        ("closed: 1", "open: {rate_rps: 5, arrival: gamma}", "gamma arrivals need their shape; add 'burstiness:"),
        ("closed: 1", "open: {rate_rps: 5, burstiness: 1}", "only gamma arrivals have a burstiness; remove it or"),
        ("closed: 1", "open: {rate_rps: 5, arrival: trace}", "arrivals of a trace are given as 'trace: FILE'"),
        ("closed: 1", "open: {peak_share: 1, arrival: trace}", "arrivals of a trace are given as 'trace: FILE'"),
        ("closed: 1", "open: {peak_share: 1, trace: s.txt}", "open.trace: s.txt cannot be read: No such file"),
        ("closed: 1", "open: {trace: [1], rate_rps: 5}", "sweeps.0.loads.0.open.trace: [1] is wrong; it should be"),
        ("closed: 1", "search: peek", "search: a search is 'peak', 'knee' or '{slo: {p99_ms: BOUND}}', not 'peek'"),
        ("closed: 1", "search: slo", "a search is 'peak', 'knee' or '{slo: {p99_ms: BOUND}}', not 'slo'"),
        ("closed: 1", "search: {}", "a search has one goal: 'peak', 'knee' or"),
        ("closed: 1", "search: {peak: {}, knee: {}}", "a search has one goal: 'peak', 'knee' or"),
        ("closed: 1", "search: {slo: {}}", "search.slo.p99_ms: is missing; add the key 'p99_ms'"),
        ("closed: 1", "search: {slo: {p99_ms: 5, arrival: gamma}}", "gamma arrivals need their shape"),
        ("closed: 1", "search: {slo: {p99_ms: 5, arrival: trace}}", "arrivals of a trace are given as"),
        ("closed: 1", "search: {peak: {most: 5}}", "unknown key 'most'"),
        ("closed: 1", "search: peak, closed: 1", "a load is either 'closed: CONCURRENCY' or 'open: {rate_rps: RATE}'"),
        ("name: s", "name: s\nmeasure: {precision: {}}", "a precision names p50, p99 or both, as in"),
        ("name: s", "name: s\nmeasure: {precision: {p50: 2}}", "precision.p50: 2 is wrong; it should be less than 1"),
        ("name: s", "name: s\nmeasure: {precision: {p95: 0.1}}", "unknown key 'p95'"),
        ("name: s", "name: s\nmeasure: {slo: {}}", "a bound names ttft_ms, itl_ms or both, as in"),
        ("name: s", "name: s\nmeasure: {workers: 0}", "measure.workers: 0 is wrong; it should be greater than 0"),
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


DOCS = Path(__file__).parents[2] / "docs" / "suites.md"


def test_the_manual_s_example_and_loads_are_suites(tmp_path: Path) -> None:
    (tmp_path / "arrivals.txt").write_text("0 # first\n1\n")
    manual = DOCS.read_text(encoding="utf-8")
    example, models = re.findall(r"```yaml\n(.*?)```", manual, re.DOTALL)
    assert parse_suite(example, "docs").measure.workers == 1
    sweep = GOOD.replace("  - models: [m]\n", indent(models, "    ").replace("    models", "  - models", 1))
    (tmp_path / "src/mypkg").mkdir(parents=True)
    for name in ("model.onnx", "model.pt", "src/mypkg/net.py"):
        (tmp_path / name).touch()
    assert all(model.custom for model in parse_suite(sweep, "docs", tmp_path).sweeps[0].models)
    entries = re.findall(r"^\| `((?:closed|open|search): .*?)` \|", manual, re.MULTILINE)
    loads = [load_of(entry, tmp_path) for entry in entries]
    assert {type(load) for load in loads} == {ClosedLoop, OpenLoop, PeakShare, Search}


def test_every_key_is_in_the_manual() -> None:
    manual = DOCS.read_text(encoding="utf-8")
    pending: list[Any] = [Suite]
    keys: set[str] = set()
    while pending:
        each = pending.pop()
        if isinstance(each, type) and issubclass(each, BaseModel):
            keys |= set(each.model_fields)
            pending += [field.annotation for field in each.model_fields.values()]
        pending += get_args(each)
    assert {"sweeps", "peak_share", "most_concurrent", "itl_ms"} <= keys
    assert {key for key in keys if not re.search(rf"\b{key}\b", manual)} == set()
