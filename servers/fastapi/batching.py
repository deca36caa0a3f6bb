"""Micro-batching: waiting requests joined into one call of the model. Imports nothing of nightbench, torch or FastAPI.

Threads of the model's own take requests from one queue, oldest first. A batch leaves as soon as it is full, as soon as
the next request does not fit into it (so that nobody waits behind a request that cannot join), or once its oldest
request has waited for the delay. While every thread is busy requests gather on, and cost nothing by it.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Arrays", "Batcher", "Counts"]

Arrays = list[NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Counts:
    """What was answered since the start. ``rows / executions`` is the mean size of a batch."""

    requests: int = 0
    rows: int = 0
    executions: int = 0


@dataclass(frozen=True, slots=True)
class _Waiting:
    arrays: Arrays
    due: float
    """When it has waited long enough, on the monotonic clock."""
    answer: Future[Arrays]

    @property
    def rows(self) -> int:
        return len(self.arrays[0])


class Batcher:
    """Runs ``model`` for requests of any batch size; close it, or leave its ``with`` block, to end its threads.

    ``max_batch_size`` bounds the rows that are joined; 1 joins nothing. It does not bound a request: one with as many
    rows or more runs alone, whole. ``begin`` is called once in each of the ``workers`` threads.
    """

    def __init__(
        self,
        model: Callable[[Arrays], Arrays],
        max_batch_size: int = 1,
        timeout_s: float = 0.0,
        workers: int = 1,
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        self._model = model
        self._most = max_batch_size
        self._timeout_s = timeout_s
        self._queue: deque[_Waiting] = deque()
        self._gathered: list[_Waiting] = []
        self._changed = threading.Condition(threading.Lock())
        self._counts = Counts()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, args=(begin,), name=f"model-{n}", daemon=True) for n in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, arrays: Arrays) -> Future[Arrays]:
        """The outputs for these inputs, all with their batch axis first. Cancelled while it waits, it is never run."""
        answer: Future[Arrays] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("the batcher is closed")
            self._queue.append(_Waiting(arrays, time.monotonic() + self._timeout_s, answer))
            self._changed.notify()
        return answer

    @property
    def counts(self) -> Counts:
        return self._counts

    def close(self) -> None:
        """Cancel what waits, and return when what runs has ended."""
        with self._changed:
            self._closed = True
            left = [*self._gathered, *self._queue]
            self._gathered, self._queue = [], deque()
            self._changed.notify_all()
        for waiting in left:
            waiting.answer.cancel()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> "Batcher":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _work(self, begin: Callable[[], None]) -> None:
        begin()
        while batch := self._take():
            self._answer(batch)
            del batch  # or the last answers live until the next come

    def _take(self) -> list[_Waiting]:
        """The next batch, when there is one; nothing once closed."""
        with self._changed:
            while not self._closed:
                full = self._gather()
                wait_s = None
                if self._gathered and not full:
                    wait_s = self._gathered[0].due - time.monotonic()
                if full or (wait_s is not None and wait_s <= 0):
                    # Whoever is cancelled from here on is run for nothing; no answer waits for it.
                    batch = [one for one in self._gathered if one.answer.set_running_or_notify_cancel()]
                    self._gathered = []
                    if self._queue:
                        self._changed.notify()  # another thread may be idle
                    if batch:
                        return batch
                else:
                    self._changed.wait(wait_s)
        return []

    def _gather(self) -> bool:
        """Move requests from the queue into the next batch; whether it can take no more."""
        self._gathered = [one for one in self._gathered if not one.answer.cancelled()]
        rows = sum(one.rows for one in self._gathered)
        while self._queue and rows < self._most:
            head = self._queue[0]
            if not head.answer.cancelled():
                if self._gathered and rows + head.rows > self._most:
                    return True
                rows += head.rows
                self._gathered.append(head)
            self._queue.popleft()
        return rows >= self._most

    def _answer(self, batch: Sequence[_Waiting]) -> None:
        try:
            answers = self._run(batch)
        except Exception as error:  # noqa: BLE001 - a request must be answered, whatever the model raised
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
                return
            # One of them is to blame, and only that one is to hear of it.
            for one in batch:
                self._answer([one])
            return
        for waiting, answer in zip(batch, answers, strict=True):
            waiting.answer.set_result(answer)

    def _run(self, batch: Sequence[_Waiting]) -> list[Arrays]:
        """Each request's outputs, from one call of the model."""
        rows = sum(one.rows for one in batch)
        # One request needs no joining, and so no copy.
        inputs = batch[0].arrays if len(batch) == 1 else _joined([one.arrays for one in batch])
        outputs = self._model(inputs)
        if any(len(array) != rows for array in outputs):
            raise ValueError(f"the model answered {[len(array) for array in outputs]} rows for {rows}")
        with self._changed:
            done = self._counts
            self._counts = Counts(done.requests + len(batch), done.rows + rows, done.executions + 1)
        answers, start = [], 0
        for one in batch:
            answers.append([array[start : start + one.rows] for array in outputs])
            start += one.rows
        return answers


def _joined(each: Sequence[Arrays]) -> Arrays:
    return [np.concatenate(rows) for rows in zip(*each, strict=True)]
