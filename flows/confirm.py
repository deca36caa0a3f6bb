"""The night's suspects decided by re-runs, as a Prefect flow of its own with a task for each group."""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import partial

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.dressing import Dressing
from nightbench.judge.night import Suspect
from nightbench.record import ConfirmationRecord
from tasks.ab.confirm import confirm_all
from tasks.ab.past import Nights
from tasks.session import Session

__all__ = ["confirm", "confirmed_in_prefect"]

Work = Callable[[], list[ConfirmationRecord]]

_BODY: ContextVar[Callable[[], None]] = ContextVar("confirm_body")
"""What the next run does. A session is live state and cannot travel as a flow parameter."""


@flow(name="confirm", flow_run_name="{suspects} suspects", persist_result=False)
def confirm(suspects: int, budget_s: float) -> None:
    """Deploy last-good and tonight's in turn until it can be told which is slower.

    Args:
        suspects: How many series are in question.
        budget_s: How long it may take.
    """
    _BODY.get()()


def confirmed_in_prefect(
    dressing: Dressing, session: Session, suspects: Sequence[Suspect], store: Nights, budget_ns: int
) -> list[ConfirmationRecord]:
    """As `tasks.ab.confirm.confirm_all`; what is shown in Prefect is none of its business."""

    def around(name: str, work: Work) -> list[ConfirmationRecord]:
        return dressing.run(partial(_as_task, name), work)

    def body() -> list[ConfirmationRecord]:
        return confirm_all(session, suspects, store, budget_ns, around)

    return dressing.run(partial(_as_flow, len(suspects), budget_ns / 1e9), body)


def _as_task(name: str, work: Work) -> None:
    def step() -> None:
        work()

    task(name="re-run", task_run_name=name, cache_policy=NO_CACHE, persist_result=False)(step)()


def _as_flow(suspects: int, budget_s: float, work: Work) -> None:
    def body() -> None:
        work()

    token = _BODY.set(body)
    try:
        confirm(suspects, budget_s)
    finally:
        _BODY.reset(token)
