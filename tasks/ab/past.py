"""What deployments of earlier nights were made of, as the database has it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from nightbench.errors import NightbenchError
from nightbench.judge.factors import Recipe
from nightbench.judge.succession import successions
from nightbench.record import ArtifactRecord, Case, KitRecord, MeasurementRecord, Record, RunStarted
from nightbench.server import EXTERNAL

__all__ = ["Night", "Nights", "Past", "Unrestorable", "image_in"]


_KINDS = (RunStarted, ArtifactRecord, KitRecord, MeasurementRecord)


class Unrestorable(NightbenchError):
    """One side of a comparison cannot be deployed, and why."""


@dataclass(frozen=True, slots=True)
class Night:
    """One run, read once."""

    run_id: str
    records: Sequence[Record]

    @property
    def started(self) -> RunStarted | None:
        return next((each for each in self.records if isinstance(each, RunStarted)), None)

    def measurement(self, fingerprint: str, like: Case) -> MeasurementRecord:
        """One of that series; where the night has none, of the one that ``like`` goes on for
        (`nightbench.judge.succession`). `Unrestorable` if there is neither."""
        measured = {each.case.fingerprint: each for each in self.records if isinstance(each, MeasurementRecord)}
        if fingerprint not in measured:
            cases = {name: each.case for name, each in measured.items()}
            fingerprint = successions(cases, {fingerprint: like}).get(fingerprint, "")
        if fingerprint not in measured:
            raise Unrestorable(f"run {self.run_id} has no measurement of this series")
        return measured[fingerprint]

    def recipe(self, measured: MeasurementRecord) -> Recipe:
        """What the deployment was made of that ``measured`` was taken on."""
        case, context = measured.case, measured.context
        wanted = context.get("kit")
        kits = (each for each in self.records if isinstance(each, KitRecord) and each.server == case.server)
        kit = next((each for each in kits if wanted in {None, each.kit_sha256}), None)
        environment = context.get("environment", "")
        files = {} if environment == EXTERNAL else None if kit is None else kit.files
        return Recipe(files, environment, case.artifact_sha256, case.options, context, image_in(context))


def image_in(context: Mapping[str, str]) -> str:
    """The image that a context speaks of, as an engine finds it again: by the registry's digest, or by its id here."""
    name = context.get("image", "")
    return name if "@" in name else context.get("image_digest", "")


class Nights(Protocol):
    """Where nights are kept: `db.store.Store`."""

    def records(self, run_id: str, *kinds: type[Record]) -> list[Record]: ...


@dataclass(slots=True)
class Past:
    """Nights of the database, each read once."""

    store: Nights
    _nights: dict[str, Night] = field(default_factory=dict)

    def night(self, run_id: str) -> Night:
        if run_id not in self._nights:
            self._nights[run_id] = Night(run_id, self.store.records(run_id, *_KINDS))
        return self._nights[run_id]
