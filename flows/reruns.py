"""An alert's re-runs as flows of their own: asked for in the UI, by an automation, or through the API."""

from contextlib import ExitStack
from functools import partial
from uuid import UUID

from prefect import State, flow, states
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.runtime import flow_run

from db import spool
from flows.artifacts import PrefectProgress, own_page
from flows.cancellation import CancelWatch
from flows.dressing import Dressing
from flows.marks import marked
from flows.notify import prefect_is_there, tell_settled
from flows.registry import load_catalog
from flows.turn import turn
from nightbench.errors import UsageError
from nightbench.record import ConfirmationRecord
from nightbench.settings import Settings
from nightbench.stopping import Stopped
from tasks.ab.afterwards import settle_alert
from tasks.ab.bisect import Bisection
from tasks.ab.bisect import bisect as find
from tasks.ab.confirm import confirm_all
from tasks.ab.opening import reopened, suspect_of, worst_member
from tasks.ab.past import Past
from tasks.session import Cancelled
from tasks.store import open_store

__all__ = ["bisect_alert", "confirm_alert"]

_NS_PER_MINUTE = 60_000_000_000


@flow(name="confirm-alert", flow_run_name="alert {alert}", persist_result=False)
def confirm_alert(alert: int, budget_minutes: float = 60.0) -> str | State[str]:
    """Deploy last-good and that night's in turn until it can be told which is slower.

    Args:
        alert: The number of the alert, as `nightbench alerts` lists them.
        budget_minutes: How long it may take.
    """
    try:
        return _confirm(alert, budget_minutes)
    except (Cancelled, Stopped) as cancelled:
        return states.Cancelled(message=str(cancelled))
    except UsageError as error:
        return states.Failed(message=str(error))


@flow(name="bisect-alert", flow_run_name="alert {alert}", persist_result=False)
def bisect_alert(alert: int) -> str | State[str]:
    """Find out which of the things that changed since the last good night makes a server slow.

    Args:
        alert: The number of the alert, as `nightbench alerts` lists them.
    """
    try:
        return _bisect(alert)
    except (Cancelled, Stopped) as cancelled:
        return states.Cancelled(message=str(cancelled))
    except UsageError as error:
        return states.Failed(message=str(error))


def _confirm(number: int, budget_minutes: float) -> str:
    if not budget_minutes > 0:
        raise UsageError(f"budget_minutes: {budget_minutes:g} is wrong; give more than 0")
    settings = Settings.from_environment()
    catalog, run_id = load_catalog(settings), UUID(str(flow_run.id))
    with marked(settings, run_id), CancelWatch(run_id) as cancelled, open_store(settings) as store:
        worst_member(store.alert(number))
        past, progress = Past(store), PrefectProgress()
        with ExitStack() as stack:
            stack.enter_context(turn(settings.machine, progress, cancelled))
            # Nights may have gone by while it waited.
            raised = store.alert(number)
            worst_member(raised)
            session = stack.enter_context(reopened(raised.last_run_id, past, settings, catalog, progress, cancelled))
            night = past.night(raised.last_run_id)
            suspects = [suspect_of(each, night, session.suite, catalog) for each in raised.finding.members]
            written = session.spool.path
            try:
                found = confirm_all(session, suspects, store, int(budget_minutes * _NS_PER_MINUTE))
            finally:
                store.ingest(spool.read(written).records)
            settled = settle_alert(store, raised, found)
            telling = partial(tell_settled, raised, settled, found, session, store, own_page())
            Dressing(progress, prefect_is_there).attempt(telling)
    create_table_artifact(
        table=[_row(suspect.label, each) for suspect, each in zip(suspects, found, strict=False)],
        key="confirmations",
        description=f"Alert {number}: {raised.finding.title}",
    )
    return ", ".join(f"{each.outcome}" for each in found)


def _row(label: str, record: ConfirmationRecord) -> dict[str, str]:
    return {
        "series": label,
        "outcome": record.outcome.value,
        "pairs": str(record.pairs),
        "against": record.good_run_id,
        "detail": record.detail,
    }


def _bisect(number: int) -> str:
    settings = Settings.from_environment()
    catalog, run_id = load_catalog(settings), UUID(str(flow_run.id))
    with marked(settings, run_id), CancelWatch(run_id) as cancelled, open_store(settings) as store:
        raised = store.alert(number)
        member, past, progress = worst_member(raised), Past(store), PrefectProgress()
        with (
            turn(settings.machine, progress, cancelled),
            reopened(raised.last_run_id, past, settings, catalog, progress, cancelled) as session,
        ):
            suspect = suspect_of(member, past.night(raised.last_run_id), session.suite, catalog)
            written = session.spool.path
            try:
                bisection = find(session, suspect, past, written.stem)
            finally:
                store.ingest(spool.read(written).records)
    create_markdown_artifact(_markdown(number, suspect.label, bisection), key="bisection")
    return bisection.said


def _markdown(number: int, label: str, bisection: Bisection) -> str:
    lines = [f"# Alert {number}: {label}", bisection.said, "| as that night | outcome | detail |\n|---|---|---|"]
    lines[-1] += "".join(
        f"\n| {', '.join(sorted(each.factors))} | {each.decided.outcome} | {each.decided.detail} |"
        for each in bisection.mixtures
    )
    lines += [f"Not changed back: {name}: {words}" for name, words in bisection.what.unrestored.items()]
    return "\n\n".join(lines)
