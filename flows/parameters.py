"""From what was filled in in the Custom-run form to a run that can be made."""

from dataclasses import replace
from datetime import UTC, datetime

from flows.registry import suite_path
from nightbench.catalog import Catalog, resolve
from nightbench.changes import Changes, changed
from nightbench.errors import UsageError
from nightbench.settings import Settings
from nightbench.suite import parse_suite
from tasks.request import Request, check_traces, fresh, resumed
from tasks.session import new_run_id

__all__ = ["asked"]


def asked(
    suite: str, changes: Changes, seed: int | None, resume: str | None, settings: Settings, catalog: Catalog
) -> Request:
    """The run that the parameters of the `nightly` flow ask for.

    Raises:
        UsageError: one of them is wrong, or they do not go together.
    """
    if resume:
        if changes.given or seed is not None:
            extra = next(iter(changes.given), "seed")
            raise UsageError(f"{extra}: a resumed run is measured as it was begun; leave all but resume as it is")
        return resumed(resume, settings, catalog)
    request = fresh(suite_path(suite), catalog, seed)
    text = changed(request.suite, request.text, changes, catalog)
    if text == request.text:
        return request
    source = f"{suite}, as changed for this run"
    other = parse_suite(text, source, request.folder).model_copy(update={"seed": request.suite.seed})
    plan = resolve(other, catalog, source)
    check_traces(plan)
    run_id = new_run_id(other.name, datetime.now(UTC))
    return replace(request, run_id=run_id, suite=other, text=text, whole=plan, plan=plan)
