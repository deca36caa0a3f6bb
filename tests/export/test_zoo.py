"""The zoo is found by looking, cheap to list, and honest about weights."""

import subprocess
import sys
from pathlib import Path

import pytest

from export import zoo
from export.artifact import weights_facts
from export.draw import CALIBRATION, POOL, draw
from nightbench.errors import ExportError, UsageError
from nightbench.model import Draw, DType, ModelSpec, TensorSpec, Tolerance


def test_every_module_of_the_folder_is_a_model() -> None:
    files = {path.stem for path in Path(zoo.__file__).parent.glob("[!_]*.py")}
    assert len(zoo.models()) == len(files)
    assert {"resnet50", "mobilenet_v2", "bert_base", "tiny_cnn"} <= zoo.models().keys()


def test_listing_models_and_asking_the_cache_import_no_heavy_library() -> None:
    code = (
        "import sys; from export import zoo, isolated, repository; zoo.models();"
        "print({'torch', 'transformers', 'onnx', 'onnxruntime'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"


def test_an_unknown_model_is_a_usage_error() -> None:
    spec = ModelSpec("resnet5", "resnet", 1, (), (), Tolerance(0, 0))
    with pytest.raises(UsageError, match="did you mean 'resnet50'"):
        zoo.build(spec, "random")


def test_draws_are_seeded_and_streams_are_apart() -> None:
    spec = zoo.models()["bert_tiny"]
    one, again, other = draw(spec, 3, POOL), draw(spec, 3, POOL), draw(spec, 3, CALIBRATION)
    assert list(one) == ["input_ids", "attention_mask"]
    assert all((one[name] == again[name]).all() for name in one)
    assert (one["input_ids"] != other["input_ids"]).any()
    assert one["input_ids"].max() < 1000
    assert (one["attention_mask"] == 1).all()


def test_inputs_that_cannot_differ_are_refused() -> None:
    bits = TensorSpec("bits", DType.UINT8, (1,), Draw.INTEGER, high=2)
    spec = ModelSpec("m", "m", 1, (bits,), (), Tolerance(0, 0))
    with pytest.raises(ExportError, match="distinct items of 3"):
        draw(spec, 3, POOL)


def test_weights_of_a_local_checkpoint_are_loaded_and_a_foreign_one_is_refused(tmp_path: Path) -> None:
    """The same loader as for a hub id, on a folder the library itself saved."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertModel

    spec = zoo.models()["bert_tiny"]
    sizes = {
        "vocab_size": 1000,
        "num_hidden_layers": 2,
        "hidden_size": 128,
        "num_attention_heads": 2,
        "intermediate_size": 512,
        "max_position_embeddings": 32,
    }
    state = torch.get_rng_state()
    saved = BertForSequenceClassification(BertConfig(**sizes)).eval()
    saved.save_pretrained(tmp_path / "good")
    inputs = [torch.from_numpy(array) for array in draw(spec, 2, POOL).values()]
    with torch.inference_mode():
        got = zoo.build(spec, str(tmp_path / "good"))(*inputs)
        want = saved(input_ids=inputs[0], attention_mask=inputs[1]).logits
        drawn = zoo.build(spec, "random")(*inputs)
    assert isinstance(got, tuple)
    torch.testing.assert_close(got[0], want)
    assert not torch.allclose(drawn[0], want)

    headless = BertModel(BertConfig(**sizes))
    headless.save_pretrained(tmp_path / "headless")
    zoo.build(spec, str(tmp_path / "headless"))  # a head that is missing is drawn from the seed
    broken = {name: value for name, value in saved.state_dict().items() if "layer.1" not in name}
    saved.save_pretrained(tmp_path / "broken", state_dict=broken)
    with pytest.raises(ExportError, match="are not those of a BertForSequenceClassification"):
        zoo.build(spec, str(tmp_path / "broken"))
    torch.set_rng_state(state)


def test_changed_local_weights_are_other_weights(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"one")
    before = weights_facts(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"other")
    assert weights_facts(str(tmp_path)) != before
    assert weights_facts("random") == {"weights": "random"}
