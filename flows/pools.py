"""Work pools: one for each kind of hardware, for a series goes on only on machines that are alike."""

import re

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker

from export.gpu import gpu_facts
from nightbench.errors import UsageError
from nightbench.settings import Settings
from tasks import machine

__all__ = ["ensure_pool", "has_gpu", "pool_name"]


def pool_name(settings: Settings, gpus: str | None = None) -> str:
    """The pool of this machine: the setting, else ``cpu``, or ``gpu-`` and the GPU's model. ``gpus`` stands in for what
    the driver says."""
    if settings.pool:
        return settings.pool
    found = gpu_facts()["gpu"] if gpus is None else gpus
    if found == "none":
        return "cpu"
    model = re.sub(r"[^a-z0-9]+", "-", found.partition(",")[0].lower()).strip("-")
    number = found.count(",") + 1
    return f"gpu-{model}" + (f"-x{number}" if number > 1 else "")


def has_gpu() -> bool:
    return gpu_facts()["gpu"] != "none"


def ensure_pool(client: SyncPrefectClient, name: str) -> str:
    """Make the pool ``name`` if it is not there, and see that this machine is of its kind; what was done, or nothing.

    Raises:
        UsageError: the pool is for machines of another kind, or is no pool for processes.
    """
    hardware = machine.hardware(machine.placement())
    described = f"Machines of one kind: {hardware}"
    try:
        pool = client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(
            WorkPoolCreate(name=name, type="process", description=described, base_job_template=template)
        )
        return f"work pool {name}: made, for {hardware}"
    if pool.type != "process":
        raise UsageError(
            f"work pool {name!r}: is of type {pool.type}, and nights are processes; name another: NIGHTBENCH_POOL=NAME"
        )
    if not pool.description:
        client.update_work_pool(name, WorkPoolUpdate(description=described))
        return f"work pool {name}: described"
    if pool.description != described:
        raise UsageError(
            f"work pool {name!r}: {pool.description[0].lower()}{pool.description[1:]}, and this is {hardware}; "
            "give this machine a pool of its own: NIGHTBENCH_POOL=NAME"
        )
    return ""
