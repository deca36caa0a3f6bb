"""What judging leaves behind, and what it needs to be left by a night. Read and written like `nightbench.record`'s."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from nightbench.figures import Estimate, Reason
from nightbench.judge.series import Metric
from nightbench.judge.verdict import Change, Outcome, Verdict

__all__ = [
    "CanaryRecord",
    "ConfirmationRecord",
    "GateRecord",
    "JudgementRecord",
    "KitRecord",
    "TrialRecord",
]


@dataclass(frozen=True, slots=True)
class KitRecord:
    """What a server's deployments are made of beside the artifact and the options: enough to make it again."""

    run_id: str
    server: str
    kit_sha256: str
    files: Mapping[str, str]
    """Text by its path below the server's folder: code, pinned requirements, overrides."""
    kind: Literal["kit"] = "kit"


@dataclass(frozen=True, slots=True)
class CanaryRecord:
    """One fixed piece of work that no server takes part in: where it is slower, the machine is."""

    run_id: str
    round: int
    canary: str
    """``matrix_product``, ``memory_copy``, ``gpu_matrix_product``: what is done, always the same amount of it; and
    ``null_request``, the load engine's own processor time a request against a server that does nothing."""
    device: str
    """``cpu`` or ``gpu<N>``."""
    started_at: datetime
    duration_ns: Estimate | None
    """Of one repetition: the median over several, with its interval. ``None`` where it failed."""
    failure: str | None = None
    kind: Literal["canary"] = "canary"


@dataclass(frozen=True, slots=True)
class GateRecord:
    """What the quality gate finds wrong with one cell: a doubt that shows once all of the night lies side by side."""

    run_id: str
    cell_key: str
    """Empty for what concerns the night as a whole."""
    reason: Reason
    expectation: str
    """The name of the rule that it breaks."""
    detail: str
    figures: tuple[str, ...] = ()
    """As in `nightbench.figures.Doubt`."""
    kind: Literal["gate"] = "gate"


@dataclass(frozen=True, slots=True)
class JudgementRecord:
    """What history said of one series on one night, and what a re-run made of it."""

    run_id: str
    suite: str
    fingerprint: str
    metric: Metric
    verdict: Verdict
    detail: str
    """In words, where the verdict alone does not say it all."""
    change: Change | None = None
    """Where a change was found."""
    confirmation_id: str | None = None
    """The re-run that decided it."""
    kind: Literal["judgement"] = "judgement"


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """One side of one pair of a re-run: one fresh deployment and what was measured on it."""

    run_id: str
    confirmation_id: str
    pair: int
    side: str
    """``good``: as on the last good night. ``tonight``. In a bisection, the name of the mixture."""
    place: int
    """0 for the first of its pair, 1 for the second."""
    deployment_id: str
    started_at: datetime
    figures: Mapping[str, Mapping[str, float]]
    """By fingerprint of tonight's series, then by metric; the doubted and the missing are left out."""
    failure: str | None = None
    kind: Literal["trial"] = "trial"


@dataclass(frozen=True, slots=True)
class ConfirmationRecord:
    """What a re-run decided of one series."""

    run_id: str
    confirmation_id: str
    suite: str
    fingerprint: str
    metric: Metric
    outcome: Outcome
    detail: str
    good_run_id: str
    """The last good night, as which one side was deployed."""
    changed: Mapping[str, str]
    """What differs between the sides, by factor, each in words: ``package torch``: ``2.12.0 -> 2.13.0``."""
    unrestored: Mapping[str, str]
    """What differs and cannot be changed back: kernel, driver, Python."""
    ratio: Estimate | None
    """Tonight over last-good, over the pairs; ``None`` where too few were measured."""
    pairs: int
    spent_ns: int
    kind: Literal["confirmation"] = "confirmation"
