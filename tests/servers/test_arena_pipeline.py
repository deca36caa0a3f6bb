"""What lies between the two models of the arena: boxes, crops and answers, against plain loops and known pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from servers.arena_common import pipeline

SIDE = 64
unit = st.floats(0, 1, width=32)


def predictions(*rows: tuple[float, ...]) -> pipeline.Array:
    """Rows of centre x, centre y, width, height, objectness and three classes."""
    return np.array(rows, np.float32).reshape(-1, 8)


def rows() -> st.SearchStrategy[pipeline.Array]:
    boxes = st.tuples(*[st.floats(-8, 72, width=32)] * 2, *[st.floats(0, 48, width=32)] * 2, *[unit] * 4)
    return st.lists(boxes, max_size=24).map(lambda found: predictions(*found))


def naive(found: pipeline.Array) -> list[tuple[np.float32, list[float]]]:
    """Greedy suppression, one box at a time."""
    scored = [(row[4] * row[5:].max(), row) for row in found]
    left = sorted((each for each in scored if each[0] > pipeline.CONFIDENCE), key=lambda each: -each[0])
    kept: list[tuple[np.float32, list[float]]] = []
    for score, row in left:
        box = [(row[0] - row[2] / 2), (row[1] - row[3] / 2), (row[0] + row[2] / 2), (row[1] + row[3] / 2)]
        box = [np.float32(edge) / np.float32(SIDE) for edge in box]
        if all(_iou(box, other) <= pipeline.IOU for _, other in kept) and len(kept) < pipeline.MOST:
            kept.append((score, box))
    return kept


def _iou(one: list[float], other: list[float]) -> float:
    across = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    down = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    union = sum(areas) - across * down
    return across * down / union if union > 0 else 0.0


@given(rows())
def test_detections_are_those_of_a_plain_loop(found: pipeline.Array) -> None:
    boxes, scores = pipeline.detections(found, SIDE)
    wanted = naive(found)
    assert scores.tolist() == [score for score, _ in wanted]
    np.testing.assert_array_equal(boxes, np.array([box for _, box in wanted], np.float32).reshape(-1, 4))


@given(rows())
def test_no_two_detections_overlap_by_more_than_allowed_and_the_surest_comes_first(found: pipeline.Array) -> None:
    boxes, scores = pipeline.detections(found, SIDE)
    assert len(boxes) == len(scores) <= pipeline.MOST
    assert (np.diff(scores) <= 0).all()
    assert (scores > pipeline.CONFIDENCE).all()
    for number, box in enumerate(boxes):
        assert (pipeline.overlaps(box, boxes[number + 1 :]) <= pipeline.IOU).all()


def test_one_object_is_one_detection_whatever_its_classes() -> None:
    found = predictions((32, 32, 20, 20, 0.9, 0.9, 0, 0), (33, 32, 20, 20, 0.9, 0, 0.8, 0))
    boxes, scores = pipeline.detections(found, SIDE)
    np.testing.assert_allclose(boxes, [[22 / 64, 22 / 64, 42 / 64, 42 / 64]])
    np.testing.assert_allclose(scores, [0.81], rtol=1e-6)


def test_what_is_not_a_number_is_no_detection() -> None:
    nan = float("nan")
    found = predictions((32, 32, 20, 20, nan, 0.9, 0, 0), (32, 32, 20, 20, 0.9, nan, 0, 0))
    assert len(pipeline.detections(found, SIDE)[0]) == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("column", range(4))
def test_a_box_that_ends_nowhere_is_no_detection(bad: float, column: int) -> None:
    found = predictions((32, 32, 20, 20, 0.9, 0.9, 0, 0), (16, 16, 8, 8, 0.8, 0.9, 0, 0))
    found[0, column] = bad
    boxes, scores = pipeline.detections(found, SIDE)
    np.testing.assert_allclose(scores, [0.72], rtol=1e-6)
    assert pipeline.crops(np.zeros((SIDE, SIDE, 3), np.uint8), boxes, 8).shape == (1, 3, 8, 8)


@given(
    arrays(np.uint8, (12, 12, 3)),
    arrays(np.float32, (3, 4), elements=st.floats(-2, 3, width=32)),
    st.integers(1, 9),
)
def test_crops_show_nothing_but_the_image(image: np.ndarray, boxes: pipeline.Array, side: int) -> None:
    found = pipeline.crops(image, boxes, side)
    assert found.shape == (3, 3, side, side)
    assert found.dtype == np.float32
    lowest, highest = (image.min((0, 1)) / 127.5 - 1)[:, None, None], (image.max((0, 1)) / 127.5 - 1)[:, None, None]
    assert (found >= lowest - 1e-5).all()
    assert (found <= highest + 1e-5).all()


def test_a_crop_of_the_whole_image_in_its_own_size_is_the_image() -> None:
    image = np.random.default_rng(1).integers(0, 256, (16, 16, 3), np.uint8)
    found = pipeline.crops(image, np.array([[0, 0, 1, 1]], np.float32), 16)
    np.testing.assert_allclose((found[0].transpose(1, 2, 0) + 1) * 127.5, image, atol=1e-4)


def test_a_crop_lies_where_its_box_does() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    image[10:20, 20:40, 2] = 255
    found = pipeline.crops(image, np.array([[0.5, 0.25, 1, 0.5]], np.float32), 8)[0]
    np.testing.assert_allclose(found[2], 1)
    np.testing.assert_allclose(found[:2], -1)


def test_crops_move_as_little_as_their_boxes() -> None:
    image = np.random.default_rng(2).integers(0, 256, (64, 64, 3), np.uint8)
    box = np.array([[0.25, 0.125, 0.75, 0.5]], np.float32)  # corners on whole pixels, where rounding would jump
    moved = pipeline.crops(image, box - np.float32(1e-6), 16)
    np.testing.assert_allclose(moved, pipeline.crops(image, box, 16), atol=1e-3)


@pytest.mark.parametrize("count", [0, 3, pipeline.MOST])
def test_answers_have_one_shape_and_say_what_is_not_there(count: int) -> None:
    logits = np.eye(10, dtype=np.float32)[2 : 2 + count]
    told = pipeline.answer(np.full((count, 4), 0.5, np.float32), np.full(count, 0.9, np.float32), logits)
    assert {name: (each.shape, each.dtype.name) for name, each in told.items()} == {
        "count": ((1,), "int32"),
        "boxes": ((8, 4), "float32"),
        "scores": ((8,), "float32"),
        "labels": ((8,), "int32"),
    }
    assert told["count"].tolist() == [count]
    assert told["labels"].tolist() == [*range(2, 2 + count), *[-1] * (8 - count)]
    assert not told["boxes"][count:].any()
    assert not told["scores"][count:].any()


def test_a_batch_is_its_images_one_after_the_other() -> None:
    one = predictions((16, 16, 12, 12, 0.9, 0.9, 0, 0), (48, 48, 12, 12, 0.8, 0.9, 0, 0))
    asked: list[tuple[int, ...]] = []

    def detect(given: pipeline.Array) -> pipeline.Array:
        assert given.shape == (1, 3, SIDE, SIDE)
        assert 0 <= given.min() <= given.max() <= 1
        return (one if given.any() else predictions())[None]

    def classify(crops: pipeline.Array) -> pipeline.Array:
        asked.append(crops.shape)
        return crops.mean((2, 3))

    images = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    images[1, :32, :32, 1] = 255
    images[1, 32:, 32:, 2] = 255
    told = pipeline.answers(images, detect, classify, 8)
    assert told["count"].tolist() == [[0], [2]]
    assert told["labels"][:, :3].tolist() == [[-1, -1, -1], [1, 2, -1]]
    assert asked == [(1, 3, 8, 8)] * 2
