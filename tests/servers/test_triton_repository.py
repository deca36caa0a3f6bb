"""Model repositories as files: names, versions, stages, what is tracked, and what killed Tritons leave."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from export import zoo
from export.repository import REPOSITORY, main, served_as, write_repository
from nightbench.errors import UsageError
from nightbench.model import Artifact, DType, Format, Precision, Stage, TensorSpec
from nightbench.signature import disagreement
from servers.triton import SERVER
from servers.triton.leftovers import sweep
from servers.triton.repository import lay_out, placed, serves, version_of
from tests.servers.toy import MODEL

PIXELS = TensorSpec("pixels", DType.FP32, (3, 4))
STAGED = replace(
    MODEL,
    stages=(Stage("prepare", MODEL.inputs, (PIXELS, MODEL.inputs[1])), Stage("model", (PIXELS,), MODEL.outputs)),
)
STAGES = {"prepare.onnx": b"one", "model.onnx": b"two"}


def parsed(text: str) -> Any:
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def artifact(path: Path, sha256: str, file_format: Format = Format.ONNX) -> Artifact:
    return Artifact("toy", file_format, Precision.FP32, "random", path, sha256, 1)


@given(st.binary(min_size=32, max_size=32))
def test_a_version_is_the_beginning_of_a_hash_and_one_that_triton_takes(digest: bytes) -> None:
    version = version_of(digest.hex())
    assert 1 <= version < 2**63
    assert f"{version:015x}" == digest.hex()[:15] or version == 1


def test_a_hash_of_nothing_is_still_a_version() -> None:
    assert version_of("0" * 64) == 1


def test_each_stage_is_a_model_of_its_own_with_the_options(tmp_path: Path) -> None:
    (tmp_path / "artifact").mkdir()
    for name, data in STAGES.items():
        (tmp_path / "artifact" / name).write_bytes(data)
    asked = SERVER.resolve({"dynamic_batching": True, "instance_count": 2, "model_warmup": 1})
    models = placed(STAGED, Format.STAGES, asked, threads=2, version=version_of("f" * 64))
    lay_out(tmp_path / "m", models, artifact(tmp_path / "artifact", "f" * 64, Format.STAGES))
    version = str(16**15 - 1)
    configs = {path.parent.name: parsed(path.read_text()) for path in (tmp_path / "m").glob("*/config.pbtxt")}
    assert configs.keys() == {"toy", "toy_prepare", "toy_model"}
    assert configs["toy"].platform == "ensemble"
    assert not list((tmp_path / "m/toy" / version).iterdir())
    for stage in ("prepare", "model"):
        config = configs[f"toy_{stage}"]
        assert config.HasField("dynamic_batching")
        assert config.instance_group[0].count == 2
        assert config.parameters["intra_op_thread_count"].string_value == "2"
        assert (tmp_path / f"m/toy_{stage}" / version / "model.onnx").read_bytes() == STAGES[f"{stage}.onnx"]
        assert (tmp_path / f"m/toy_{stage}" / "warmup" / "input_0").is_file()
    assert [tensor.name for tensor in configs["toy_model"].input] == ["pixels"]


def test_a_copy_that_was_cut_short_is_made_again_and_a_whole_one_stays(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"whole")
    models, held = placed(MODEL, Format.ONNX, SERVER.resolve({})), artifact(tmp_path / "a.onnx", "1" * 64)

    def cut_short(source: Path, target: Path) -> None:
        target.write_bytes(b"who")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        lay_out(tmp_path / "m", models, held, cut_short)
    target = tmp_path / "m" / "toy" / str(version_of("1" * 64)) / "model.onnx"
    assert not target.exists()
    lay_out(tmp_path / "m", models, held)
    assert target.read_bytes() == b"whole"
    assert [path.name for path in target.parent.iterdir()] == ["model.onnx"]
    lay_out(tmp_path / "m", models, held, cut_short)


def test_stages_with_work_between_them_are_no_ensemble() -> None:
    assert serves(STAGED, Format.STAGES)
    apart = replace(
        STAGED, stages=(STAGED.stages[0], replace(STAGED.stages[1], inputs=(replace(PIXELS, name="crop"),)))
    )
    assert not serves(apart, Format.STAGES)
    assert served_as(apart) is None


def test_an_ensemble_is_not_put_before_an_ensemble() -> None:
    with pytest.raises(UsageError, match="is an ensemble already; leave the option ensemble off"):
        placed(STAGED, Format.STAGES, SERVER.resolve({"ensemble": True}))


def test_the_hop_option_serves_three_models_of_which_one_has_the_file() -> None:
    models = placed(MODEL, Format.ONNX, SERVER.resolve({"ensemble": True, "dynamic_batching": True}), version=7)
    assert [(model.name, model.filename) for model in models] == [
        ("toy", ""),
        ("toy_preprocess", ""),
        ("toy_model", "model.onnx"),
    ]
    hop, second = (parsed(model.config) for model in models[1:])
    assert not hop.HasField("dynamic_batching")
    assert second.HasField("dynamic_batching")
    assert list(second.version_policy.specific.versions) == [7]


def test_a_file_that_differs_from_the_spec_is_named_with_it() -> None:
    scores, doubled = MODEL.outputs
    assert disagreement(MODEL, MODEL.inputs[::-1], MODEL.outputs) is None
    open_ended = replace(MODEL.inputs[0], shape=(-1, 4))
    assert disagreement(MODEL, (open_ended, MODEL.inputs[1]), MODEL.outputs) is None
    for wrong in (
        (replace(scores, shape=(6,)), doubled),
        (replace(scores, dtype=DType.FP16), doubled),
        (replace(scores, name="logits"), doubled),
        (scores,),
        (scores, scores, doubled),
    ):
        sentence = disagreement(MODEL, MODEL.inputs, wrong)
        assert sentence is not None
        assert "the outputs scores FP32[5], doubled INT64[3], but its exported file has " in sentence
        assert sentence.endswith("correct the spec or export it again")


def test_the_tracked_repository_is_current(tmp_path: Path) -> None:
    written = {path.relative_to(tmp_path): path for path in write_repository(tmp_path, zoo.models().values())}
    tracked = {path.relative_to(REPOSITORY): path for path in REPOSITORY.glob("*/config.pbtxt")}
    assert tracked.keys() == written.keys(), "run: python -m export.repository"
    for name, path in written.items():
        assert tracked[name].read_text() == path.read_text(), "run: python -m export.repository"
    served = {name for name, spec in zoo.models().items() if served_as(spec)}
    assert served <= {name.parent.name for name in written}
    assert served


def test_filling_in_an_unknown_model_is_a_mistake(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--fill", "tiny_cmn", "--to", str(tmp_path)]) == 2
    assert "did you mean 'tiny_cnn'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """An old empty folder of a Triton that was killed; beside it one in use, a young one, and a stranger's."""
    for name in ("python_env_abcdef", "python_env_filled", "python_env_young1", "python_env_and_more"):
        (tmp_path / name).mkdir()
    (tmp_path / "python_env_filled" / "bin").touch()
    for path in tmp_path.iterdir():
        if "young" not in path.name:
            os.utime(path, (0, 0))
    return tmp_path


def test_what_a_killed_triton_left_is_removed(left: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    nobody = tmp_path_factory.mktemp("proc")
    assert sweep(left, nobody) == [left / "python_env_abcdef"]
    assert {path.name for path in left.iterdir()} == {"python_env_filled", "python_env_young1", "python_env_and_more"}
    assert sweep(left, nobody) == []


MAPPED = "7f00-7f01 r-xp 00000000 08:01 5 /opt/tritonserver/lib/libtritonserver.so\n"


@pytest.mark.parametrize(("comm", "maps"), [("tritonserver\n", ""), ("python3\n", MAPPED)])
def test_nothing_is_removed_while_a_triton_lives(
    comm: str, maps: str, left: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    processes = tmp_path_factory.mktemp("proc")
    (processes / "42").mkdir()
    (processes / "42" / "comm").write_text(comm)
    (processes / "42" / "maps").write_text(maps)
    assert sweep(left, processes) == []
