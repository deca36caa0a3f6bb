"""One stored run held against another, for every command that does so."""

import yaml
from pydantic import ValidationError

from dashboards.report.told import Against
from db.store import Store
from flows.commands.common import whole_records
from nightbench.errors import UsageError
from nightbench.judge.check import against_run
from nightbench.judge.policy import JudgePolicy
from nightbench.record import RunStarted
from nightbench.summary import NightSummary, summarise

__all__ = ["against", "policy_of"]


def against(store: Store, night: NightSummary, other: str, named: str) -> Against:
    """``night`` against the stored run that ``other`` means, by the policy of the night's own suite.

    `UsageError`, naming the argument ``named``, where that is the same run.
    """
    run_id = store.run_id(other)
    if run_id == night.run.run_id:
        raise UsageError(
            f"{named}: {other!r} is run {run_id} itself; name another one, `nightbench history` lists them"
        )
    before = summarise(whole_records(store, run_id))
    return Against(before, against_run(night, before, policy_of(night.run)))


def policy_of(run: RunStarted) -> JudgePolicy:
    """As the suite had it when it ran; the rest of its file may name what is not on this machine."""
    try:
        suite = yaml.safe_load(run.suite_yaml)
        return JudgePolicy.model_validate(suite.get("judge") or {} if isinstance(suite, dict) else {})
    except (yaml.YAMLError, ValidationError) as error:
        raise UsageError(
            f"run: {run.run_id}: what its suite says of judging cannot be read by this nightbench "
            f"({type(error).__name__}); name a newer run"
        ) from error
