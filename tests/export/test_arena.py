"""The arena's images and models: as many crops as asked, and no decision that rounding could turn."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from export import zoo
from export.zoo import (
    _arena,
    _chosen,
    _parts,
    arena,
    mobilenet_v2,
    mobilenet_v2_image,
    tiny,
    tiny_arena,
    tiny_image,
    yolov5n,
)
from export.zoo._scenes import scene
from nightbench.errors import ExportError
from nightbench.model import Format
from servers.arena_common import pipeline

SIDE = 64
COUNT = 9


@pytest.fixture(scope="module")
def stages() -> Iterator[Mapping[str, torch.nn.Module]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small a network is slower with two
    yield tiny_arena.stages("random", 0)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def images(stages: Mapping[str, torch.nn.Module]) -> np.ndarray:
    generator = np.random.default_rng(4)
    found = _chosen.candidates("random", SIDE, generator)
    return _chosen.chosen(COUNT, found, **stages, crop_side=16, generator=generator)


def test_images_have_the_number_of_crops_that_the_original_has(
    stages: Mapping[str, torch.nn.Module], images: np.ndarray
) -> None:
    module = _arena.reference(**stages, crop_side=16, side=SIDE)
    counts = module(torch.from_numpy(images))[0].numpy().ravel()
    assert sorted(counts) == [3] * 3 + [4] * 3 + [5] * 3
    assert (counts.mean(), round(float(counts.std()), 1)) == (4, 0.8)
    assert (np.diff(counts) < 0).any(), "in the order of their counts, a window of a run would see some of them only"
    assert len({image.tobytes() for image in images}) == COUNT


def test_every_image_is_settled(stages: Mapping[str, torch.nn.Module], images: np.ndarray) -> None:
    detect = _arena.function(stages["detect"])
    assert all(_chosen.settled(detect(pipeline.detector_input(image))[0], SIDE) for image in images)


@given(st.integers(0, 2**32 - 1))
def test_what_is_settled_stays_so_when_rounded_otherwise(seed: int) -> None:
    draw = np.random.default_rng(seed)
    boxes = np.concatenate((draw.uniform(8, 56, (12, 2)), draw.uniform(8, 24, (12, 2))), 1)
    boxes = boxes[draw.integers(0, 12, 30)] + draw.normal(0, 1, (30, 4))  # some nearly on top of each other
    found = np.concatenate((boxes, draw.uniform(0, 1, (30, 1)) ** 3, draw.uniform(0.5, 1, (30, 3))), 1)
    found = found.astype(np.float32)
    assume(_chosen.settled(found, SIDE))
    rounded = found.copy()
    rounded[:, :4] += draw.uniform(-0.005, 0.005, (30, 4))
    rounded[:, 4] += draw.uniform(-0.0015, 0.0015, 30)
    before, after = pipeline.detections(found, SIDE), pipeline.detections(rounded, SIDE)
    assert len(before[0]) == len(after[0])
    np.testing.assert_allclose(after[0], before[0], atol=_arena.TOLERANCE)
    np.testing.assert_allclose(after[1], before[1], atol=_arena.TOLERANCE)


@pytest.mark.parametrize(
    "rows",
    [
        [(32, 32, 20, 20, 0.252, 1)],  # barely sure enough
        [(32, 32, 20, 20, 0.248, 1)],  # barely not
        [(16, 16, 10, 10, 0.8, 1), (48, 48, 10, 10, 0.799, 1)],  # either may come first
        [(32, 32, 20, 20, 0.9, 1), (39.6, 32, 20, 20, 0.5, 1)],  # overlaps by 0.449
        [(32, 32, 20, 20, 0.9, 1), (33, 32, 20, 20, 0.899, 1)],  # either may suppress the other
    ],
)
def test_close_decisions_are_not_settled(rows: list[tuple[float, ...]]) -> None:
    assert not _chosen.settled(np.array(rows, np.float32), SIDE)


def test_exported_stages_in_the_zoo_s_own_order_give_the_reference(
    stages: Mapping[str, torch.nn.Module], images: np.ndarray
) -> None:
    def runner(name: str):  # type: ignore[no-untyped-def]
        (output,) = next(each.outputs for each in tiny_arena.MODEL.stages if each.name == name)
        ask = _arena.function(stages[name])
        return lambda inputs: {output.name: ask(next(iter(inputs.values())))}

    told = tiny_arena.run_stages({name: runner(name) for name in stages}, {"image": images[:4]})
    wanted = _arena.reference(**stages, crop_side=16, side=SIDE)(torch.from_numpy(images[:4]))
    for output, want in zip(tiny_arena.MODEL.outputs, wanted, strict=True):
        np.testing.assert_array_equal(told[output.name], want.numpy())
        assert told[output.name].shape == (4, *output.shape)
        assert told[output.name].dtype == np.dtype(output.dtype.numpy)


def test_images_that_do_not_do_are_said_to(stages: Mapping[str, torch.nn.Module]) -> None:
    blank = repeat(np.zeros((SIDE, SIDE, 3), np.uint8))
    with pytest.raises(ExportError, match=r"only 0 of 1 have 3 to 5 detections.*lacking are 1 with 4"):
        _chosen.chosen(1, blank, **stages, crop_side=16, generator=np.random.default_rng(0))


def test_scenes_are_seeded_and_hold_what_they_say() -> None:
    one, same, other = (scene(4, SIDE, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.image, same.image)
    assert (one.image != other.image).any()
    assert one.centres.shape == (4, 2)
    assert ((one.centres > 0) & (one.centres < SIDE)).all()


def test_it_is_to_be_had_as_stages_only() -> None:
    for module in (arena, tiny_arena):
        assert module.MODEL.formats == (Format.STAGES,)
        assert [stage.name for stage in module.MODEL.stages] == ["detect", "classify"]
        assert zoo.run_stages(module.MODEL) is not None


def test_the_version_of_what_is_made_of_models_rises_with_each_of_them() -> None:
    one, two = mobilenet_v2.MODEL, tiny.MODEL
    before = _parts.version(1, one, two)
    assert _parts.version(2, one, two) == before + 1
    assert _parts.version(1, replace(one, version=one.version + 1), two) == before + 1
    assert _parts.version(1, one, replace(two, version=two.version + 1)) == before + 1
    assert _parts.version(1, replace(one, version=1), replace(two, version=1)) == 1


@pytest.mark.parametrize(
    ("whole", "parts"),
    [
        (arena, (yolov5n, mobilenet_v2)),
        (tiny_arena, (tiny,)),
        (mobilenet_v2_image, (mobilenet_v2,)),
        (tiny_image, (tiny,)),
    ],
)
def test_every_such_model_has_the_version_of_its_parts(whole: ModuleType, parts: tuple[ModuleType, ...]) -> None:
    """Weights that changed under an unchanged version would meet the pool of the old ones."""
    risen = [each.MODEL.version - 1 for each in parts]
    assert sum(risen) > 0
    assert whole.MODEL.version >= 1 + sum(risen)


def test_weights_are_a_folder_that_holds_some(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no folder that holds detect/, classify/ or images/"):
        arena.stages("somebody/yolo", 0)
    (tmp_path / "images").mkdir()
    assert _arena.part(str(tmp_path), "detect") == "random"
    (tmp_path / "detect").mkdir()
    assert _arena.part(str(tmp_path), "detect") == str(tmp_path / "detect")
    with pytest.raises(ExportError, match=r"holds no \.jpg or \.png"):
        next(_chosen.candidates(str(tmp_path), SIDE, np.random.default_rng(0)))
    with pytest.raises(ExportError, match="tiny_arena has no weights"):
        tiny_arena.stages(str(tmp_path), 0)


def test_another_image_size_is_refused_by_the_reference(stages: Mapping[str, torch.nn.Module]) -> None:
    module = _arena.reference(**stages, crop_side=16, side=SIDE)
    with pytest.raises(ValueError, match="instead of"):
        module(torch.zeros(1, 32, 32, 3, dtype=torch.uint8))


def test_photographs_are_read_in_a_seeded_order_and_one_that_cannot_be_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow is no dependency of ours: a stand-in, with the four things that are asked of it."""

    class Opened:
        def __init__(self, path: Path) -> None:
            if not (text := path.read_text()):
                raise OSError("cannot identify image file")
            self.shade, self.side = int(text), 0

        def __enter__(self) -> "Opened":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def convert(self, mode: str) -> "Opened":
            assert mode == "RGB"
            return self

        def resize(self, size: tuple[int, int], _: object) -> np.ndarray:
            return np.full((size[1], size[0], 3), self.shade, np.uint8)

    pillow = SimpleNamespace(open=Opened, Resampling=SimpleNamespace(BILINEAR=2))
    monkeypatch.setitem(sys.modules, "PIL.Image", pillow)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "PIL", SimpleNamespace(Image=pillow))  # type: ignore[arg-type]
    folder = tmp_path / "images"
    folder.mkdir()
    for shade in range(9):
        (folder / f"{shade}.jpg").write_text(str(shade))
    (folder / "notes.txt").write_text("no photograph")

    def shades(seed: int) -> list[int]:
        found = list(_chosen.candidates(str(tmp_path), SIDE, np.random.default_rng(seed)))
        assert all(image.shape == (SIDE, SIDE, 3) for image in found)
        return [int(image[0, 0, 0]) for image in found]

    assert sorted(shades(1)) == list(range(9))
    assert shades(1) == shades(1) != shades(2)
    (folder / "broken.png").write_text("")
    with pytest.raises(ExportError, match=r"broken\.png cannot be read: cannot identify"):
        shades(1)
