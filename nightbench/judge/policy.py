"""What a suite says of judging: ``judge:`` in its file. The defaults are argued for in ``docs/judge.md``."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from nightbench.judge.series import Metric
from nightbench.load_entries import Count, Strict

__all__ = ["ConfirmPolicy", "JudgePolicy"]

Share = Annotated[float, Field(gt=0, lt=1)]


class ConfirmPolicy(Strict):
    """How suspicions are decided by a re-run the same night."""

    enabled: bool = True
    watch_p: Share = 0.02
    """A change of which history is less sure than of a suspicion is re-run as well, as the budget goes."""
    false_confirm_p: Share = 0.005
    """How often a re-run may confirm what is not there, its several looks taken together."""
    budget_share: Share = 0.1
    """Of the night's own time; at least one suspicion is always re-run."""
    min_pairs: Annotated[int, Field(ge=2)] = 4
    """Pairs of fresh deployments, last-good and tonight's, before the first look."""
    max_pairs: Annotated[int, Field(ge=2)] = 10

    @model_validator(mode="after")
    def _can_be_decided(self) -> Self:
        if self.max_pairs < self.min_pairs:
            raise ValueError(
                f"max_pairs is {self.max_pairs} and min_pairs {self.min_pairs}, so nothing would ever be decided; "
                "raise max_pairs"
            )
        return self


class JudgePolicy(Strict):
    """When a change of a series is worth a suspicion, and when a suspicion is worth an alert."""

    min_effect: Share = 0.03
    """Relative changes smaller than this are no news."""
    min_effects: dict[Metric, Share] = Field(default_factory=lambda: {Metric.LATENCY_P99_NS: 0.08})
    """The same by metric, where it differs."""
    min_nights: Annotated[int, Field(ge=5)] = 10
    """A series with fewer valid nights since its last re-base is not judged."""
    baseline_nights: Annotated[int, Field(ge=10)] = 60
    """How far back the baseline reaches at most, in valid nights."""
    window_nights: Count = 14
    """A change that began longer ago than so many valid nights is found no more, but by its drift."""
    false_discovery_rate: Share = 0.05
    """Of the suspicions of one night, the share that may be false."""
    expires_nights: Count = 30
    """A series whose last valid point is older than so many nights has no baseline left, which is an alert."""
    confirm: ConfirmPolicy = ConfirmPolicy()

    @model_validator(mode="after")
    def _can_be_judged(self) -> Self:
        if self.min_nights > self.baseline_nights:
            raise ValueError(
                f"min_nights is {self.min_nights} and baseline_nights {self.baseline_nights}, so nothing would ever be "
                "judged; lower min_nights"
            )
        return self

    def effect(self, metric: Metric | None) -> float:
        """The least relative change that is news; ``None`` for a series that is none of ours."""
        return self.min_effect if metric is None else self.min_effects.get(metric, self.min_effect)
