"""Which load a search tries next, from what its steps found so far, and when it has its answer. No state, no clock."""

from collections.abc import Iterator, Sequence

from nightbench import bracket, climb
from nightbench.figures import Doubt, Reason, SearchFigures, SearchStep
from nightbench.load import Goal, Search, Step

__all__ = ["MOST_STEPS", "propose", "search_open"]

MOST_STEPS = 20
"""Nine doublings and a refinement take 13, a bracket with its bisection and some repeats about as many. A search that
takes more is lost in noise."""


def propose(search: Search, steps: Sequence[SearchStep]) -> Step | SearchFigures:
    """The load to try after ``steps``, which are all those this function proposed before, or the end of the search.

    `Goal.PEAK` and `Goal.KNEE` climb over closed loops (`nightbench.climb`), `Goal.SLO` brackets a rate
    (`nightbench.bracket`).

    A search whose steps do not support an answer ends as well, with the best of them as the chosen one: its
    ``answer_rps`` then lacks a bound, and its ``detail`` says why.
    """
    kind = bracket if search.goal is Goal.SLO else climb
    cut = _cut(steps)
    step: Step | None = kind.wanted(search, steps) if cut is None else None
    return step if step is not None else kind.concluded(search, steps, cut)


def _cut(steps: Sequence[SearchStep]) -> str | None:
    """Why there can be no further step."""
    if steps and any(doubt.reason is Reason.SERVER_DIED for doubt in steps[-1].doubts):
        return f"the server died at {steps[-1].load.label}"
    return f"{MOST_STEPS} steps were taken" if len(steps) >= MOST_STEPS else None


def search_open(figures: SearchFigures) -> Iterator[Doubt]:
    """The search ended without an answer that its steps support."""
    if figures.answer_rps.low is None or figures.answer_rps.high is None:
        yield Doubt(Reason.SEARCH_OPEN, figures.detail)
