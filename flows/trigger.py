"""Starting a deployment's run from outside: what the HTTP API and scripts call."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from nightbench.errors import NightbenchError, UsageError, nearest
from nightbench.settings import Settings

if TYPE_CHECKING:
    import httpx
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

__all__ = ["start_run"]


def start_run(suite: str, parameters: Mapping[str, object], pool: str | None = None) -> str:
    """Ask for one run of ``suite``'s deployment, with ``parameters`` of the `nightly` flow in place of its defaults.

    ``pool`` says on which kind of machine, where several have the suite; by default this one's. Returns the id of the
    flow run, which may wait its turn. Prefect must be configured in this process
    (`flows.prefect_settings.configure`), or its settings be the user's own.

    Raises:
        UsageError: no such deployment, a parameter that its form refuses, or no Prefect server that answers.
    """
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.settings import get_current_settings

    from flows.services import answers

    api_url = get_current_settings().api.url or ""
    if not answers(api_url):
        raise UsageError(f"Prefect: {api_url or 'no server'} does not answer; `nightbench up` starts one")
    try:
        with get_client(sync_client=True) as client:
            deployment = _deployment(client, suite, pool)
            run = client.create_flow_run_from_deployment(deployment.id, parameters=dict(parameters))
    except PrefectHTTPStatusError as error:
        if error.response.status_code in {409, 422}:
            raise UsageError(_sentence(error.response)) from error
        raise NightbenchError(f"Prefect refused the run: {error.response.status_code}") from error
    except httpx.HTTPError as error:
        raise UsageError(f"Prefect: {api_url} went away ({type(error).__name__}); try again") from error
    return str(run.id)


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
