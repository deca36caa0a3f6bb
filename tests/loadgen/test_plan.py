"""``python -m loadgen PLAN.json``: one cell without anybody to supervise it."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import loadgen.__main__
from loadgen.codec_json import job_from_json, job_to_json
from loadgen.job import Job
from nightbench.samples import Samples

JobMaker = Callable[..., Job]


def loadgen_with(plan: Path, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "loadgen", str(plan)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PYTHONPATH": str(Path(loadgen.__main__.__file__).parents[1])},
        cwd=cwd,
    )


def test_a_plan_is_carried_out_and_its_paths_are_its_folders(serve, job: JobMaker, tmp_path: Path) -> None:
    fields = json.loads(job_to_json(job(serve().port, max_requests=6, workers=2)))
    folder = tmp_path / "plans"
    folder.mkdir()
    (tmp_path / "pool.npz").rename(folder / "pool.npz")
    (folder / "plan.json").write_text(json.dumps(fields | {"pool": "pool.npz", "samples": "out.npz"}))
    done = loadgen_with(Path("plans") / "plan.json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    result = json.loads(done.stdout)
    assert (result["error"], result["outcomes"], result["ended_by"]) == (None, {"ok": 6}, "requests")
    assert len(Samples.load(folder / "out.npz")) == 6


def test_a_plan_that_cannot_be_measured_is_a_result_and_fails(job: JobMaker, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes(job_to_json(job(1, pool=Path("/nowhere.npz"))))
    done = loadgen_with(tmp_path / "plan.json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"].startswith("input pool /nowhere.npz: cannot be read")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file or directory"),
        ("{", "not a job: Invalid JSON"),
        ('{"batch": 1}', "not a job: Field required at endpoint"),
    ],
)
def test_what_is_no_plan_is_one_sentence(tmp_path: Path, content: str | None, words: str) -> None:
    plan = tmp_path / "plan.json"
    if content is not None:
        plan.write_text(content)
    done = loadgen_with(plan)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"loadgen: {plan}: {words}")
    assert done.stderr.count("\n") == 1


def test_a_value_that_nothing_can_be_measured_with_is_refused(job: JobMaker, tmp_path: Path) -> None:
    fields = json.loads(job_to_json(job(1)))
    (tmp_path / "plan.json").write_text(json.dumps(fields | {"load": {"rate_rps": -5}}))
    done = loadgen_with(tmp_path / "plan.json")
    assert (done.returncode, done.stdout) == (2, "")
    said = "load.rate_rps: -5.0 is wrong; it should be a number greater than 0\n"
    assert done.stderr == f"loadgen: {tmp_path / 'plan.json'}: {said}"


def test_help_is_the_documentation() -> None:
    done = loadgen_with(Path("--help"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == (loadgen.__main__.__doc__ or "").strip()


def test_a_terminated_run_leaves_nothing(serve, job: JobMaker, tmp_path: Path) -> None:
    server = serve()
    (tmp_path / "plan.json").write_bytes(job_to_json(job(server.port, duration_s=60.0)))
    (tmp_path / "work").mkdir()
    environment = {"PYTHONPATH": str(Path(loadgen.__main__.__file__).parents[1]), "TMPDIR": str(tmp_path / "work")}
    run = subprocess.Popen([sys.executable, "-m", "loadgen", str(tmp_path / "plan.json")], env=environment)
    while not server.bodies:
        assert run.poll() is None
        time.sleep(0.01)
    run.terminate()
    assert run.wait() == 128 + signal.SIGTERM
    assert not list((tmp_path / "work").iterdir())


def test_a_misspelt_field_is_refused(job: JobMaker, tmp_path: Path) -> None:
    fields = json.loads(job_to_json(job(1)))
    (tmp_path / "plan.json").write_text(json.dumps(fields | {"max_request": 5}))
    done = loadgen_with(tmp_path / "plan.json")
    assert done.returncode == 2
    assert "max_request" in done.stderr


def test_the_documented_plan_is_one() -> None:
    """The example in the help is read as it stands."""
    text = loadgen.__main__.__doc__ or ""
    job = job_from_json(text[text.index("{\n") : text.index("    }\n") + len("    }")].encode())
    assert (job.workers, job.duration_s, job.samples) == (1, 10.0, Path("samples.npz"))
