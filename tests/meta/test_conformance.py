"""The conformance suite finds what is wrong with a server: the toy, which does nothing beyond answering well."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from nightbench.server import Deployment, ServerSpec
from tests.conformance import matrix, traces
from tests.conformance.matrix import Matrix, code_of
from tests.conformance.subject import Launched
from tests.conformance.traces import nothing_left
from tests.flows.conftest import TOYS
from tests.launch.toys import make_spec

ROOT = Path(__file__).parents[2]


def test_it_tells_good_manners_from_bad(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "NIGHTBENCH_HOME": str(tmp_path),
        "NIGHTBENCH_SERVERS_PATH": str(TOYS),
        "NIGHTBENCH_ENVIRONMENTS": "host",
    }
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "tests/conformance", "--server", "toy"),
            *("-k", "starts_and or malformed or loopback"),
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1, run.stdout + run.stderr
    table = (tmp_path / "conformance.md").read_text(encoding="utf-8")
    header, _, *rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
    toy = next(dict(zip(header, row, strict=True)) for row in rows if row[0] == "toy")
    assert toy["starts"] == toy["loopback"] == "ok"
    # It hangs up instead of saying what is wrong.
    assert toy["malformed"] == "FAILS"
    assert toy["batching"] == "\N{EN DASH}"


def specs(folder: Path) -> dict[str, ServerSpec]:
    folder.mkdir(exist_ok=True)
    return {"toy": make_spec(folder, "")}


def test_a_later_run_goes_on_where_one_ended(tmp_path: Path) -> None:
    begun = Matrix(tmp_path, specs(tmp_path / "toy"))
    begun.row("toy").note("answers", "one[toy]", "")
    begun.row("toy").note("answers", "two[toy]", "it says 3")
    begun.save()
    resumed = Matrix(tmp_path, specs(tmp_path / "toy"))
    assert resumed.row("toy").passed(["one[toy]"])
    assert not resumed.row("toy").passed(["one[toy]", "two[toy]"])
    assert not resumed.row("toy").passed(["never run[toy]"])
    assert "**toy**, answers: it says 3" in resumed.write(["answers"], {})
    resumed.row("toy").note("answers", "two[toy]", "")
    assert "| toy | ok |" in resumed.write(["answers"], {})


def test_what_passed_says_nothing_about_other_code(tmp_path: Path) -> None:
    begun = Matrix(tmp_path, specs(tmp_path / "toy"))
    begun.row("toy").note("answers", "one[toy]", "")
    begun.save()
    (tmp_path / "toy" / "serve.py").write_text("changed")
    assert not Matrix(tmp_path, specs(tmp_path / "toy")).row("toy").passed(["one[toy]"])


@pytest.mark.parametrize(
    ("changed", "servers"),
    [
        ("raw_http.py", {"toy", "triton", "tensorrt", "arena_triton", "arena_monolith"}),
        ("triton/layout.py", {"triton", "tensorrt", "arena_triton"}),
        ("arena_common/front.py", {"arena_triton", "arena_monolith"}),
    ],
)
def test_what_servers_share_is_code_of_each(
    changed: str, servers: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix, "SERVERS", tmp_path)
    names = ("toy", "triton", "tensorrt", "arena_triton", "arena_monolith")
    for name in (*names, "arena_common"):
        (tmp_path / name).mkdir()
    (tmp_path / "tensorrt" / "__init__.py").write_text("from servers.triton.layout import server_flags\n")
    (tmp_path / "arena_triton" / "layout.py").write_text("from servers import arena, triton\n")
    known = {name: make_spec(tmp_path / name, "", name=name) for name in names}
    before = {name: code_of(spec) for name, spec in known.items()}
    (tmp_path / changed).write_text("changed")
    assert {name for name, spec in known.items() if code_of(spec) != before[name]} == servers


def test_the_table_says_what_was_not_run(tmp_path: Path) -> None:
    table = Matrix(tmp_path, specs(tmp_path / "toy")).write(["starts", "stops"], {})
    assert "| toy | not run ||" in table
    assert "needs a GPU" in Matrix(tmp_path, specs(tmp_path / "toy")).write(["starts"], {"toy": ("a GPU",)})


def launched(home: Path) -> Launched:
    home.mkdir()
    up = Deployment("toy", {}, None, 1, None, None, "1", "host", home / "log")
    return Launched("toy-1", up, home)


def test_what_is_dropped_in_common_folders_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    common = tmp_path / "common"
    common.mkdir()
    (common / "was there").touch()
    monkeypatch.setattr(traces, "COMMON", (common,))
    monkeypatch.setattr(traces, "PATIENCE_S", 0.0)
    with pytest.raises(AssertionError, match="segment"), nothing_left():
        (common / "segment").touch()
    with ExitStack() as others, nothing_left():
        others.enter_context((common / "held by a living process").open("w"))
        gone = common / "gone again"
        gone.touch()
        gone.unlink()
    one = launched(tmp_path / "home")
    (one.home / "telemetry.db").touch()
    with pytest.raises(AssertionError, match=r"home: \['telemetry"), nothing_left() as known:
        known.append(one)
