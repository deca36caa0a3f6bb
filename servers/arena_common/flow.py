"""The order of one request's steps, alike in every architecture: only where the two models run differs.

Each model answers one call at a time and each call of NumPy work runs in one thread, so that requests follow each other
through the steps. Imports nothing of nightbench.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pipeline

Model = Callable[[np.ndarray], Awaitable[np.ndarray]]


def in_thread(model: Callable[[np.ndarray], np.ndarray]) -> Model:
    """A model of this process, in a thread of its own: one call at a time."""
    pool = ThreadPoolExecutor(1, "model")

    async def call(given: np.ndarray) -> np.ndarray:
        return await asyncio.get_running_loop().run_in_executor(pool, model, given)

    return call


class Flow:
    """Two models and what lies between them. ``join_crops`` sends an image's crops as one batch, not one by one."""

    def __init__(self, detect: Model, classify: Model, crop_side: int, join_crops: bool) -> None:
        self._detect, self._classify = detect, classify
        self._crop_side = crop_side
        self._join_crops = join_crops
        self._work = ThreadPoolExecutor(1, "work")

    async def answers(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs of a batch, by name: its images one after the other."""
        told = [await self._answer(image) for image in images]
        return {name: np.stack([each[name] for each in told]) for name in told[0]}

    async def _answer(self, image: np.ndarray) -> dict[str, np.ndarray]:
        loop = asyncio.get_running_loop()
        given = await loop.run_in_executor(self._work, pipeline.detector_input, image)
        predictions = await self._detect(given)
        boxes, scores, crops = await loop.run_in_executor(self._work, self._cut, image, predictions[0])
        return pipeline.answer(boxes, scores, await self._classified(crops))

    def _cut(self, image: np.ndarray, predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        boxes, scores = pipeline.detections(predictions, image.shape[0])
        return boxes, scores, pipeline.crops(image, boxes, self._crop_side)

    async def _classified(self, crops: np.ndarray) -> np.ndarray:
        if not len(crops):
            return np.empty((0, 1), np.float32)
        if self._join_crops:
            return await self._classify(crops)
        return np.concatenate(await asyncio.gather(*(self._classify(crop[None]) for crop in crops)))
