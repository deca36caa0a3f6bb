"""The models themselves: of the published size, taking the published weights, and saying what their specs say."""

import re
import subprocess
import sys
from functools import partial
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import errors
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPModel

from export import zoo
from export.draw import CALIBRATION
from export.formats.base import Work, exporter
from export.zoo import _clip, clip_vit_b32_text
from export.zoo._pictures import pictures
from export.zoo._speech import END, lexicon, tokenizer, utterance
from export.zoo._yolo import Yolo5, Yolo8, detector
from nightbench.errors import ExportError
from nightbench.model import Format, ModelSpec, Precision

SIDE, CLASSES = 64, 4


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def folded(module: nn.Module) -> int:
    """Parameters once each BatchNorm's scale and shift are part of the convolution before it, as a bias."""
    return parameters(module) - sum(part.num_features for part in module.modules() if isinstance(part, nn.BatchNorm2d))


def answers(module: nn.Module, spec: ModelSpec, count: int) -> Any:
    with torch.inference_mode():
        return module(*(torch.from_numpy(array) for array in zoo.inputs(spec, count).values()))


def weights_in(folder: Path, state: dict[str, torch.Tensor]) -> str:
    folder.mkdir()
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")
    return str(folder)


def small(weights: str = "random", seed: int = 0) -> nn.Module:
    return detector(lambda: Yolo5(SIDE, CLASSES, width=1 / 8), SIDE, weights, seed)


@pytest.mark.parametrize("spec", zoo.models().values(), ids=list(zoo.models()))
def test_every_model_states_its_licence_by_spdx(spec: ModelSpec) -> None:
    assert re.fullmatch(r"[A-Za-z0-9.-]+( AND [A-Za-z0-9.-]+)*", spec.licence), spec.name
    assert not spec.hub_weights or re.fullmatch(r"[\w.-]+/[\w.-]+", spec.hub_weights)


@pytest.mark.parametrize(
    ("kind", "unfolded", "once_folded"), [(Yolo5, 1_872_157, 1_867_405), (Yolo8, 3_157_200, 3_151_904)]
)
def test_yolo_has_as_many_parameters_as_published(kind: type[Yolo5 | Yolo8], unfolded: int, once_folded: int) -> None:
    """Upstream's summaries of YOLOv5n and YOLOv8n, as trained and as it runs them."""
    with torch.device("meta"):
        module = kind(640, 80)
    assert (parameters(module), folded(module)) == (unfolded, once_folded)


@pytest.mark.parametrize(("name", "published"), [("clip_vit_b32", 87_849_216), ("clip_vit_b32_text", 63_428_096)])
def test_clip_has_as_many_parameters_as_published(name: str, published: int) -> None:
    """The two towers and the temperature are the 151,277,313 of ViT-B/32."""
    with torch.device("meta"):
        module = zoo.build(zoo.models()[name], "random")
    assert parameters(module) == published


def test_yolo_calls_its_weights_what_upstream_does() -> None:
    with torch.device("meta"):
        five, eight = Yolo5(640, 80).state_dict(), Yolo8(640, 80).state_dict()
    assert {
        "model.0.conv.weight": (16, 3, 6, 6),
        "model.4.m.1.cv2.bn.running_var": (32,),
        "model.9.cv2.conv.weight": (256, 512, 1, 1),
        "model.24.m.2.bias": (255,),
        "model.24.anchors": (3, 3, 2),
    }.items() <= {name: tuple(value.shape) for name, value in five.items()}.items()
    assert {
        "model.0.conv.weight": (16, 3, 3, 3),
        "model.2.m.0.cv1.conv.weight": (16, 16, 3, 3),
        "model.22.cv2.0.2.weight": (64, 64, 1, 1),
        "model.22.cv3.2.0.conv.weight": (80, 256, 3, 3),
        "model.22.dfl.conv.weight": (1, 16, 1, 1),
    }.items() <= {name: tuple(value.shape) for name, value in eight.items()}.items()


def test_an_undecided_anchored_head_says_each_anchor_in_the_middle_of_each_cell() -> None:
    module = Yolo5(SIDE, CLASSES, width=1 / 8).eval()
    for head in module.model["24"].m:
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    with torch.inference_mode():
        (said,) = module(torch.rand(2, 3, SIDE, SIDE))
    assert said.shape == (2, 3 * (64 + 16 + 4), 5 + CLASSES)
    assert (said[..., 4:] == 0.5).all()
    # The second anchor of stride 8, row 1, column 2.
    torch.testing.assert_close(said[1, 64 + 8 + 2, :4], torch.tensor([20.0, 12.0, 16.0, 30.0]))
    # The last anchor of stride 32, last cell.
    torch.testing.assert_close(said[0, -1, :4], torch.tensor([48.0, 48.0, 373.0, 326.0]))


def test_an_undecided_anchorless_head_says_boxes_of_15_cells_round_each_cell() -> None:
    module = Yolo8(SIDE, CLASSES, width=1 / 8).eval()
    for part in (*module.model["22"].cv2, *module.model["22"].cv3):
        nn.init.zeros_(part[2].weight)
        nn.init.zeros_(part[2].bias)
    with torch.inference_mode():
        (said,) = module(torch.rand(2, 3, SIDE, SIDE))
    assert said.shape == (2, 4 + CLASSES, 64 + 16 + 4)
    assert (said[:, 4:] == 0.5).all()
    torch.testing.assert_close(said[1, :4, 8 + 2], torch.tensor([20.0, 12.0, 120.0, 120.0]))
    torch.testing.assert_close(said[0, :4, -1], torch.tensor([48.0, 48.0, 480.0, 480.0]))


def test_a_drawn_detector_is_of_all_degrees_of_doubt_and_sees_what_it_is_shown() -> None:
    (said,) = answers(small(), zoo.models()["tiny_yolo"], 16)
    sure = said[..., 4]
    assert sure.quantile(0.01) < 0.01
    assert 0.5 < sure.max() < 1
    assert 0 < (sure > 0.25).float().mean() < 0.05
    assert said[..., 5:].std() > 0.1
    assert (said[0] - said[1])[..., 4:].abs().mean() > 0.01


def test_weights_of_a_detector_are_loaded_in_fp32_and_others_refused(tmp_path: Path) -> None:
    other = small(seed=7)
    state = other.half().state_dict()
    other.float()
    whole = weights_in(tmp_path / "whole", state)
    loaded = small(whole)
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}
    spec = zoo.models()["tiny_yolo"]
    torch.testing.assert_close(answers(loaded, spec, 2)[0], answers(other, spec, 2)[0])
    assert not torch.allclose(answers(small(), spec, 2)[0], answers(other, spec, 2)[0])

    uncounted = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    small(weights_in(tmp_path / "uncounted", uncounted))
    lacking = {name: value for name, value in state.items() if not name.startswith("model.9.cv1")}
    with pytest.raises(ExportError, match=r"they lack 'model\.9\.cv1\.bn\.bias' and 4 more tensors"):
        small(weights_in(tmp_path / "lacking", lacking))
    with pytest.raises(ExportError, match=r"has no place for 'ema' and 0 more tensors"):
        small(weights_in(tmp_path / "more", state | {"ema": torch.zeros(1)}))
    wider = state | {"model.24.m.0.bias": torch.zeros(255)}
    with pytest.raises(ExportError, match=r"'model\.24\.m\.0\.bias' is \(255,\) instead of \(27,\)"):
        small(weights_in(tmp_path / "wider", wider))


@pytest.mark.parametrize("name", ["yolov5n", "yolov8n", "bert_tiny", "clip_vit_b32"])
def test_a_pickle_is_refused_in_one_sentence_and_never_read(tmp_path: Path, name: str) -> None:
    spec = zoo.models()[name]
    file = tmp_path / "pytorch_model.bin"
    file.write_bytes(b"\x80\x04never a pickle")
    for weights in (str(tmp_path), str(file), "yolov5n.pt"):
        with pytest.raises(ExportError, match=r"are a pickle.*save its state_dict\(\) as model\.safetensors") as raised:
            zoo.build(spec, weights)
        assert "\n" not in str(raised.value)


def test_a_folder_or_a_repository_without_safetensors_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ExportError, match=r"the folder holds no model\.safetensors"):
        small(str(tmp_path))

    def absent(*args: object, **kwargs: object) -> str:
        asked.append((args, kwargs))
        raise errors.LocalEntryNotFoundError("404") if offline else errors.EntryNotFoundError("404")

    asked: list[object] = []
    monkeypatch.setattr("huggingface_hub.hf_hub_download", absent)
    offline = False
    with pytest.raises(ExportError, match=r"'some/detector@v2': the hub's repository holds no model\.safetensors"):
        small("some/detector@v2")
    assert asked == [(("some/detector", "model.safetensors"), {"revision": "v2"})]
    offline = True
    with pytest.raises(ExportError, match=r"'some/detector': the hub does not answer"):
        small("some/detector")


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # CLIP checks the picture's size, which is fixed
@pytest.mark.parametrize(
    ("name", "file_format"),
    [*product(("tiny_yolo", "tiny_clip"), (Format.ONNX, Format.TORCHSCRIPT)), ("tiny_cnn_image", Format.STAGES)],
)
def test_exports_say_what_pytorch_says_at_every_batch_size(tmp_path: Path, name: str, file_format: Format) -> None:
    spec, kind = zoo.models()[name], exporter(file_format)
    build, stages = partial(zoo.build, spec, "random"), partial(zoo.stages, spec, "random")
    path = tmp_path / f"model{kind.suffix}"
    kind.export(Work(spec, "random", Precision.FP32, build, stages, lambda *_: path, MappingProxyType({})), path)
    run = kind.open(path, spec, {})
    for count in (1, 5):
        (output,) = spec.outputs
        (want,) = answers(build(), spec, count)
        assert want.shape == (count, *output.shape)
        got = run(zoo.inputs(spec, count))[output.name]
        tolerance = spec.tolerance
        np.testing.assert_allclose(got, want.numpy(), atol=tolerance.max_abs or 0, rtol=tolerance.max_rel)


@pytest.mark.parametrize("name", ["tiny_cnn_image", "mobilenet_v2_image"])
def test_each_stage_of_an_image_model_takes_what_the_one_before_gives(name: str) -> None:
    spec = zoo.models()[name]
    first, second = spec.stages
    assert (first.inputs, first.outputs, second.outputs) == (spec.inputs, second.inputs, spec.outputs)
    assert zoo.inputs(spec, 2)["picture"].shape == (2, *first.inputs[0].shape)


def test_an_image_model_takes_bytes_and_its_stages_are_the_whole() -> None:
    spec = zoo.models()["tiny_cnn_image"]
    parts = zoo.stages(spec, "random")
    assert list(parts) == [stage.name for stage in spec.stages]
    image = torch.from_numpy(zoo.inputs(spec, 4)["picture"])
    assert image.dtype == torch.uint8
    assert (image.amin() < 40) & (image.amax() > 215)
    with torch.inference_mode():
        (normal,) = parts["preprocess"](image)
        (scores,) = parts["classify"](normal)
        (whole,) = zoo.build(spec, "random")(image)
    torch.testing.assert_close(normal[2, 1, 5, 3], (image[2, 5, 3, 1] / 255 - 0.5) / 0.5)
    torch.testing.assert_close(whole, scores)
    assert len(set(scores.argmax(1).tolist())) > 1


def test_a_tower_takes_its_half_of_a_checkpoint_of_both(tmp_path: Path) -> None:
    spec = zoo.models()["tiny_clip"]
    tower: Any = zoo.build(spec, "random").model
    text = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 99, "projection_dim": 32}
    config = CLIPModel.config_class(text_config=text, vision_config=tower.config.to_dict(), projection_dim=32)
    both = CLIPModel(config).eval()
    both.save_pretrained(tmp_path)
    pixels = torch.from_numpy(zoo.inputs(spec, 3)["pixel_values"])
    with torch.inference_mode():
        (got,) = zoo.build(spec, str(tmp_path))(pixels)
        want = both.visual_projection(both.vision_model(pixel_values=pixels).pooler_output)
    torch.testing.assert_close(got, want)


def test_texts_end_and_what_stands_after_their_end_changes_nothing() -> None:
    spec = clip_vit_b32_text.MODEL
    tokens = zoo.inputs(spec, 8)["input_ids"]
    assert (tokens == zoo.inputs(spec, 8)["input_ids"]).all()
    assert (tokens != zoo.inputs(spec, 8, CALIBRATION)["input_ids"]).any()
    ends = (tokens == tokens.max()).argmax(1)
    assert set(tokens[:, 0].tolist()) == {49406}
    assert tokens.max() == 49407
    assert 5 < ends.min() < ends.max() < 77
    tower = _clip.text_tower(
        spec, "random", 0, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2
    )
    other = tokens.copy()
    for row, end in zip(other, ends, strict=True):
        row[end + 1 :] = 5
    with torch.inference_mode():
        (one,), (again,) = tower(torch.from_numpy(tokens)), tower(torch.from_numpy(other))
    assert one.shape == (8, 512)
    torch.testing.assert_close(one, again)
    assert not torch.allclose(one[0], one[1])


@given(st.integers(0, 2**32 - 1), st.sampled_from((16, 64, 96)), st.integers(1, 3))
def test_pictures_are_seeded_and_within_0_to_1(seed: int, side: int, count: int) -> None:
    one, again = (pictures(count, side, np.random.default_rng(seed)) for _ in range(2))
    assert one.shape == (count, 3, side, side)
    assert (one == again).all()
    assert 0 <= one.min() < one.max() <= 1


@settings(deadline=None)  # the first example makes the language up
@given(st.integers(3, 400), st.integers(0, 2**32 - 1))
def test_utterances_are_words_of_the_language_and_of_the_size_asked_for(size: int, seed: int) -> None:
    said = utterance(size, np.random.default_rng(seed))
    assert len(said.encode()) == size
    blank, *words = said.split(" ")
    assert blank == ""
    assert words
    assert set(words) <= set(lexicon())


def test_a_trained_tokenizer_is_the_same_in_every_process_and_reads_any_text() -> None:
    code = "from export.zoo._speech import tokenizer; print(tokenizer(1024).backend_tokenizer.to_str())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    pieces = tokenizer(1024)
    assert pieces.backend_tokenizer.to_str() == told.rstrip("\n")
    assert len(pieces) == 1024
    for text in ("", " the host", "Straße 1\n\N{GRINNING FACE}"):
        assert pieces.decode(pieces(text)["input_ids"]) == text
    assert pieces.convert_tokens_to_ids(END) == 0
    words = utterance(1000, np.random.default_rng(1))
    assert 0.1 < len(pieces(words)["input_ids"]) / 1000 < 0.5


def test_the_small_llama_answers_in_tokens_of_one_size() -> None:
    spec = zoo.models()["llama_small"]
    module: Any = zoo.build(spec, "random")
    assert 30e6 < parameters(module) < 120e6
    requests = zoo.inputs(spec, 3)["request"]
    assert len({row.tobytes() for row in requests}) == 3
    with torch.inference_mode():
        (texts,) = module(torch.from_numpy(requests[:1]))
    assert texts.shape == (1, *spec.outputs[0].shape)
    said = module.tokenizer(texts[0].numpy().tobytes().decode())["input_ids"]
    assert {len(module.tokenizer.decode([token])) for token in said} == {8}
    assert len(said) == 32
    assert len(set(said)) > 16, "it runs in circles"
    with pytest.raises(ExportError, match="has no weights 'org/none'; use 'random'"):
        zoo.build(spec, "org/none")
