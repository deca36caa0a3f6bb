"""Prefect shows a night; it must not be able to end one. A server that goes away costs its pages, nothing else."""

from collections.abc import Callable
from typing import Generic, TypeVar

from tasks.progress import Progress

__all__ = ["Dressing"]

T = TypeVar("T")


class _Body(Generic[T]):
    """Remembers what became of a step, whatever became of the run that Prefect made of it."""

    def __init__(self, step: Callable[[], T]) -> None:
        self._step = step
        self.results: list[T] = []
        self.raised = False

    def __call__(self) -> T:
        try:
            result = self._step()
        except BaseException:
            self.raised = True
            raise
        self.results.append(result)
        return result


class Dressing:
    """Runs steps as Prefect runs while Prefect can be reached, and bare while it cannot."""

    def __init__(self, progress: Progress, answers: Callable[[], bool]) -> None:
        """``answers`` says, quickly, whether a server that was lost is back."""
        self._progress = progress
        self._answers = answers
        self._reachable = True

    def run(self, dress: Callable[[Callable[[], T]], object], step: Callable[[], T]) -> T:
        """``step``'s result or exception. ``dress`` runs what it is given inside a Prefect run.

        A step is never run twice: if Prefect fails after it is done, its result stands.
        """
        if not self._found():
            return step()
        body = _Body(step)
        try:
            dress(body)
        except Exception as error:
            if body.raised:
                raise
            self._lost(error)
        return body.results[0] if body.results else step()

    def attempt(self, call: Callable[[], object]) -> None:
        """Show something in Prefect, if it can be reached."""
        if self._found():
            try:
                call()
            except Exception as error:  # noqa: BLE001 - a page that cannot be drawn ends no night
                self._lost(error)

    def _found(self) -> bool:
        self._reachable = self._reachable or self._answers()
        return self._reachable

    def _lost(self, error: Exception) -> None:
        self._reachable = False
        self._progress.note(f"Prefect cannot be reached ({type(error).__name__}); the night goes on without it")
