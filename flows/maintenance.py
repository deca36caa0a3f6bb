"""What a machine and the database need now and then: a flow of its own, that takes its turn like any experiment.

Dropping a year of rows beside a measurement would be measured.
"""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect import State, flow, get_run_logger, states
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run

from db.drain import drain
from db.store import Store
from flows.artifacts import PrefectProgress
from flows.cancellation import CancelWatch
from flows.marks import marked, settle_dead
from flows.notify import send_waiting, tell_missing
from flows.turn import turn
from launch.device import exclusive
from launch.reaper import reap
from nightbench.settings import Settings
from nightbench.stopping import Stopped
from tasks.opening import LOCK
from tasks.store import open_store

__all__ = ["maintenance"]


@flow(name="maintenance", flow_run_name="maintenance", persist_result=False)
def maintenance() -> str | State[str]:
    """Ingest what is spooled, make the coming partitions and drop what is too old, and look for missing nights."""
    settings = Settings.from_environment()
    run_id, progress = UUID(str(flow_run.id)), PrefectProgress()
    try:
        with (
            marked(settings, run_id),
            CancelWatch(run_id) as cancelled,
            turn(settings.machine, progress, cancelled),
            # A run outside Prefect measures under this lock alone.
            exclusive(LOCK, lambda: progress.note("another run is measuring here; waiting for it to end"), cancelled),
            open_store(settings) as store,
        ):
            done = _maintained(settings, store)
    except Stopped as stopped:
        return states.Cancelled(message=str(stopped))
    create_markdown_artifact("\n".join(f"- {line}" for line in done), key="maintenance")
    return "; ".join(done)


def _maintained(settings: Settings, store: Store) -> list[str]:
    from db.maintenance import maintain
    from db.retention import Keep

    log = get_run_logger()
    done = [f"ended {each.kind} {each.name}, left by a killed run" for each in reap()]
    done += [f"flow run {each}: its process is dead" for each in settle_dead(settings)]
    drained = drain(settings.spool, store)
    done.append(f"{drained.files} spool files: {drained.new} new records, {drained.known} known already")
    done += maintain(store, datetime.now(UTC), Keep(settings.keep_telemetry_days, settings.keep_measurements_days))
    if forgotten := store.forget_spreads(datetime.now(UTC) - timedelta(days=1)):
        done.append(f"{forgotten} loads of several machines that nobody ended: forgotten")
    missed = tell_missing(settings, store)
    done += [f"{each.suite}: no night since {each.run_id}" for each in missed if each.alerts]
    send_waiting(settings, store)
    for line in done:
        log.info(line)
    return done
