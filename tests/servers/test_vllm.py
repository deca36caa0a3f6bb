"""What vLLM is started with, and that its pins say what they must; the conformance checks start it for real."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from export import zoo
from nightbench.model import Artifact, Format, Precision
from nightbench.server import Command, OptionValue, Protocol, ServeRequest
from servers.vllm import SERVER

LLAMA = zoo.models()["tiny_llama"]


def command(workdir: Path, **options: OptionValue) -> Command:
    artifact = Artifact("tiny_llama", Format.HUGGINGFACE, Precision.FP32, "random", Path("/models/abc"), "0" * 64, 1)
    return SERVER.command(
        ServeRequest(
            model=LLAMA,
            artifact=artifact,
            options=SERVER.resolve(options),
            threads=2,
            host="127.0.0.1",
            ports={"http": 20000},
            workdir=workdir,
            load_time_path=workdir / "load_time_ns",
            python=workdir / "bin/python",
            site_packages=workdir / "site-packages",
        )
    )


def test_it_serves_language_models_only() -> None:
    assert set(SERVER.formats) == set(LLAMA.formats)
    assert list(SERVER.protocols) == [Protocol.OPENAI]


def test_it_is_started_isolated_on_the_folder_under_our_name(tmp_path: Path) -> None:
    made = command(tmp_path)
    given = dict(pairwise(made.argv))
    assert made.argv[:3] == (str(tmp_path / "bin/python"), "-I", "-m")
    assert (given["--model"], given["--served-model-name"]) == ("/models/abc", "tiny_llama")
    assert (given["--host"], given["--port"]) == ("127.0.0.1", "20000")


def test_by_default_it_computes_as_the_reference_did_and_remembers_nothing(tmp_path: Path) -> None:
    argv = command(tmp_path).argv
    given = dict(pairwise(argv))
    assert given["--dtype"] == "float32"
    assert given["--generation-config"] == "vllm"
    assert "--no-enable-prefix-caching" in argv
    assert "--enforce-eager" in argv


@pytest.mark.parametrize(
    ("option", "value", "flags"),
    [
        ("max_num_seqs", 1, ["--max-num-seqs", "1"]),
        ("max_model_len", 512, ["--max-model-len", "512"]),
        ("dtype", "bfloat16", ["--dtype", "bfloat16"]),
        ("enforce_eager", False, ["--no-enforce-eager"]),
        ("enable_prefix_caching", True, ["--enable-prefix-caching"]),
    ],
)
def test_an_option_reaches_it(tmp_path: Path, option: str, value: OptionValue, flags: list[str]) -> None:
    changed = command(tmp_path, **{option: value}).argv
    usual = command(tmp_path).argv
    assert [one for one, other in zip(changed, usual, strict=True) if one != other] == flags[-1:]
    assert " ".join(flags) in " ".join(changed)


def test_it_gets_its_threads_stays_in_its_folder_and_tells_nobody(tmp_path: Path) -> None:
    env = command(tmp_path).env
    assert env["OMP_NUM_THREADS"] == "2"
    assert env["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert all(Path(env[name]).is_relative_to(tmp_path) for name in ("HOME", "VLLM_CACHE_ROOT", "VLLM_CONFIG_ROOT"))
    assert (env["VLLM_NO_USAGE_STATS"], env["DO_NOT_TRACK"], env["HF_HUB_OFFLINE"]) == ("1", "1", "1")


def test_what_the_overrides_leave_out_is_not_pinned() -> None:
    pins = dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", SERVER.requirements.read_text(), re.MULTILINE))
    lines = (SERVER.folder / "overrides.txt").read_text().splitlines()
    never = {line.partition(" ;")[0] for line in lines if line.endswith("python_version < '3'")}
    assert {"torchvision", "torchaudio", "torchcodec"} < never
    assert never.isdisjoint(pins)
    assert f"torch=={pins['torch']}" in lines
    assert SERVER.distribution in pins
