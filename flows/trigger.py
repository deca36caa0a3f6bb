"""Starting a deployment's run from outside: what the HTTP API and scripts call."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from uuid import uuid4

from nightbench.errors import NightbenchError, UsageError, nearest
from nightbench.settings import Settings

if TYPE_CHECKING:
    import httpx
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

__all__ = ["start_run"]


def start_run(
    suite: str, parameters: Mapping[str, object], pool: str | None = None, idempotency_key: str | None = None
) -> str:
    """Ask for one run of ``suite``'s deployment, with ``parameters`` of the `nightly` flow in place of its defaults.

    ``pool`` says on which kind of machine, where several have the suite; by default this one's. Returns the id of the
    flow run, which may wait its turn. Prefect must be configured in this process
    (`flows.prefect_settings.configure`), or its settings be the user's own.

    ``idempotency_key``: asked again with the same one, it is the same run. Prefect's client sends a request again by
    itself when no answer comes, so that without one a key is made up here.

    Raises:
        UsageError: no such deployment, or a parameter that its form refuses: nothing was started.
        NightbenchError: Prefect does not answer; the sentence says whether there may be a run all the same.
    """
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.settings import get_current_settings

    from flows.services import answers

    api_url = get_current_settings().api.url or ""
    if not answers(api_url):
        said = f"{api_url} does not answer" if api_url else "PREFECT_API_URL is not set"
        raise NightbenchError(f"Prefect: {said}; `nightbench up` starts a server and says where")
    asked_for = False
    try:
        with get_client(sync_client=True) as client:
            deployment = _deployment(client, suite, pool)
            asked_for = True
            run = client.create_flow_run_from_deployment(
                deployment.id, parameters=dict(parameters), idempotency_key=idempotency_key or str(uuid4())
            )
    except PrefectHTTPStatusError as error:
        status = error.response.status_code
        if asked_for and status in {409, 422}:
            raise UsageError(_sentence(error.response)) from error
        raise NightbenchError(_unknown(f"{api_url} answered {status}", asked_for and status >= 500)) from error
    except httpx.HTTPError as error:
        raise NightbenchError(_unknown(f"{api_url} went away ({type(error).__name__})", asked_for)) from error
    return str(run.id)


def _unknown(what: str, maybe: bool) -> str:
    """``maybe``: the request was sent, and what became of it is not known."""
    if not maybe:
        return f"Prefect: {what}; nothing was started: try again"
    return (
        f"Prefect: {what}, and may have made the run before; ask again with the same idempotency key, "
        "or look there first: another request is another run"
    )


def _deployment(client: "SyncPrefectClient", suite: str, pool: str | None) -> "DeploymentResponse":
    """The one deployment that is meant."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags, FlowFilter, FlowFilterName

    from flows.deployments import suite_tag
    from flows.pools import pool_name

    nights = FlowFilter(name=FlowFilterName(any_=["nightly"]))
    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=[suite_tag(suite)]))
    found = {
        each.work_pool_name: each for each in client.read_deployments(flow_filter=nights, deployment_filter=tagged)
    }
    if not found:
        every = client.read_deployments(flow_filter=nights)
        suites = {tag.partition(":")[2] for each in every for tag in each.tags if tag.startswith(suite_tag(""))}
        remedy = nearest(suite, suites) if suites else "`nightbench deploy` makes them"
        raise UsageError(f"suite {suite!r}: has no deployment; {remedy}")
    wanted = pool or pool_name(Settings.from_environment())
    if wanted in found:
        return found[wanted]
    if pool is None and len(found) == 1:
        return next(iter(found.values()))
    pools = ", ".join(sorted(filter(None, found)))
    raise UsageError(f"pool {wanted!r}: has no deployment of suite {suite}; these have: {pools}")


def _sentence(response: "httpx.Response") -> str:
    """What Prefect says of a parameter, as we say such things."""
    try:
        detail = str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"parameters: Prefect refused them ({response.status_code})"
    said = _REFUSAL.search(detail)
    return f"{said['field'] or 'parameters'}: {said['why']}" if said else f"parameters: {detail}"


_REFUSAL = re.compile(r"Validation failed(?: for field '(?P<field>[^']*)')?\. Failure reason: (?P<why>.*)", re.DOTALL)
