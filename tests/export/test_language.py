"""The language model: its words, its requests, the folder it is saved to, and answers that no rounding decides."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export import zoo
from export.isolated import Prepared, prepare
from export.parity import check
from export.pool import load_pool
from export.zoo._words import END, WORD_BYTES, WORDS, tokenizer
from loadgen.protocols import codec_for
from nightbench.errors import ExportError
from nightbench.model import Format, ModelSpec, Precision
from nightbench.server import Endpoint, Protocol

COUNT = 6
MEASURED = 16
"""As many as a night asks: `tasks.export.POOL_COUNT`."""


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return zoo.models()["tiny_llama"]


@pytest.fixture(scope="module")
def words() -> Any:
    return tokenizer()


def prepared_in(spec: ModelSpec, folder: Path) -> Prepared:
    where: dict[str, Any] = {"cache": folder / "cache", "log": folder / "export.log", "timeout_s": 300}
    return prepare(spec, Format.HUGGINGFACE, Precision.FP32, "random", pool_count=COUNT, batches=(1, 4), **where)


@pytest.fixture(scope="module")
def prepared(spec: ModelSpec, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepared_in(spec, tmp_path_factory.mktemp("language"))


def requests(spec: ModelSpec, count: int = COUNT) -> list[dict[str, Any]]:
    return [json.loads(row.tobytes()) for row in zoo.inputs(spec, count)["request"]]


def test_every_word_is_one_token_of_one_size(words: Any) -> None:
    numbers = words("".join(WORDS))["input_ids"]
    assert len(set(numbers)) == len(numbers) == len(WORDS)
    assert all(words.decode([number]) == word for number, word in zip(numbers, WORDS, strict=True))
    assert {len(word.encode()) for word in WORDS} == {WORD_BYTES}
    assert words.convert_tokens_to_ids(END) not in numbers


@given(st.text())
def test_any_text_can_be_read(words: Any, text: str) -> None:
    text = text.replace(END, "")
    assert words.decode(words(text)["input_ids"]) == text


def test_requests_are_seeded_distinct_and_ask_for_an_answer_of_the_size_the_model_gives(
    spec: ModelSpec, words: Any
) -> None:
    asked = requests(spec)
    assert asked == requests(spec)
    assert len({each["prompt"] for each in asked}) == COUNT
    assert {len(words(each["prompt"])["input_ids"]) for each in asked} == {64}
    assert {each["max_tokens"] * WORD_BYTES for each in asked} == {spec.outputs[0].shape[0]}
    assert all(each["temperature"] == 0 and each["ignore_eos"] for each in asked)


def test_the_load_generator_sends_them_as_completions(spec: ModelSpec) -> None:
    codec = codec_for(Endpoint(Protocol.OPENAI, model="served"), spec.inputs, spec.outputs, 1)
    head, _, body = codec.prepare({"request": zoo.inputs(spec, 1)["request"]}).partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/completions ")
    sent = json.loads(body)
    assert (sent["model"], sent["stream"], sent["prompt"]) == ("served", True, requests(spec)[0]["prompt"])


def test_parity_is_exact_at_every_batch_size(prepared: Prepared) -> None:
    assert [(result.batch, result.passed, result.max_abs) for result in prepared.parity] == [(1, True, 0), (4, True, 0)]


def test_another_process_gives_the_same_bytes(spec: ModelSpec, prepared: Prepared, tmp_path: Path) -> None:
    again = prepared_in(spec, tmp_path)
    assert not again.cached
    assert again.artifact.sha256 == prepared.artifact.sha256
    assert again.pool.sha256 == prepared.pool.sha256


def test_the_folder_holds_what_a_server_loads_and_no_pickle(prepared: Prepared) -> None:
    files = sorted(prepared.artifact.path.iterdir())
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {file.name for file in files}
    assert {file.suffix for file in files} == {".json", ".safetensors"}
    assert sum(file.stat().st_size for file in files) == prepared.artifact.size_bytes
    assert all(file.stat().st_mode & 0o044 == 0o044 for file in files)
    here = str(Path(__file__).parents[2]).encode()
    assert not any(here in file.read_bytes() for file in files)


def test_no_answer_is_like_another_and_no_rounding_decides_any(spec: ModelSpec, words: Any) -> None:
    """Each is read again in one pass over prompt and answer, without the cache of keys and values that wrote it."""
    import torch

    module: Any = zoo.build(spec, "random")
    with torch.inference_mode():
        (texts,) = module(torch.from_numpy(zoo.inputs(spec, MEASURED)["request"]))
    answers = [words(row.tobytes().decode())["input_ids"] for row in texts.numpy()]
    assert len({tuple(answer[:4]) for answer in answers}) == MEASURED
    margins = []
    for asked, answer in zip(requests(spec, MEASURED), answers, strict=True):
        assert len(set(answer)) > len(answer) / 2, "it runs in circles"
        prompt = words(asked["prompt"])["input_ids"]
        with torch.inference_mode():
            logits = module.model(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        best = logits.topk(2)
        assert best.indices[:, 0].tolist() == answer
        assert {words.decode([number]) for number in answer} <= set(WORDS)
        assert logits.std().item() == pytest.approx(1, rel=0.2)
        margins.append((best.values[:, 0] - best.values[:, 1]).min().item())
    # Engines differ by some 1e-5 in logits of this size.
    assert min(margins) > 1e-4


def broken(spec: ModelSpec, prepared: Prepared, folder: Path) -> str:
    (result,) = check(spec, replace(prepared.artifact, path=folder), prepared.pool, (1,))
    assert not result.passed
    return result.detail


def test_a_changed_weight_or_word_fails_parity(spec: ModelSpec, prepared: Prepared, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    other = shutil.copytree(prepared.artifact.path, tmp_path / "weight")
    weights: Mapping[str, Any] = load_file(other / "model.safetensors")
    weights["model.layers.2.mlp.up_proj.weight"].mul_(1.5)
    save_file(dict(weights), other / "model.safetensors", metadata={"format": "pt"})
    assert "is another text from byte" in broken(spec, prepared, other)

    other = shutil.copytree(prepared.artifact.path, tmp_path / "word")
    said = bytes(load_pool(prepared.pool)[1]["text"][0, :WORD_BYTES]).decode().strip()
    text = (other / "tokenizer.json").read_text()
    assert text.count(f'"Ġ{said}"') == 1
    (other / "tokenizer.json").write_text(text.replace(f'"Ġ{said}"', '"Ġwhy"'))
    assert "is another text from byte" in broken(spec, prepared, other)


def test_an_empty_folder_is_a_failed_result(spec: ModelSpec, prepared: Prepared, tmp_path: Path) -> None:
    assert broken(spec, prepared, tmp_path).startswith("the artifact does not load: ")


def test_it_has_no_other_weights(spec: ModelSpec) -> None:
    with pytest.raises(ExportError, match="has no weights 'org/none'; use 'random'"):
        zoo.build(spec, "org/none")


@pytest.mark.parametrize(("name", "wrong"), [("tiny_llama", Format.ONNX), ("tiny_cnn", Format.HUGGINGFACE)])
def test_text_and_tensors_are_not_to_be_had_in_each_others_formats(tmp_path: Path, name: str, wrong: Format) -> None:
    spec = zoo.models()[name]
    assert wrong not in spec.formats
    with pytest.raises(ExportError, match=f"{name} is not to be had as {wrong}; use {spec.formats[0]}"):
        prepare(spec, wrong, Precision.FP32, "random", tmp_path, 2, (1,), log=tmp_path / "log")
    assert list(tmp_path.iterdir()) == []
