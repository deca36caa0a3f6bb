"""Which of tonight's new series goes on where one of last night's ended.

The artifact and the options are part of a series' name, so that a new exporter or another default begins a new one. If
nothing connected the two, every such upgrade would reset the baseline unseen.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from nightbench.record import Case

__all__ = ["successions"]


# What may differ between a series and its successor, the likelier first: where setups differ by their options alone,
# a new exporter changes every artifact at once, and each setup goes on as itself.
_ALIKE: tuple[Callable[[Case], Case], ...] = (
    lambda case: replace(case, artifact_sha256=""),
    lambda case: replace(case, options={}),
    lambda case: replace(case, artifact_sha256="", options={}),
)


def successions(gone: Mapping[str, Case], new: Mapping[str, Case]) -> dict[str, str]:
    """The predecessor's fingerprint by the successor's, where one vanished series and one new one are alike but for the
    artifact, the options or both, and no third is. All that is ambiguous is left out: a wrong comparison is worse than
    none.
    """
    found: dict[str, str] = {}
    for alike in _ALIKE:
        taken = set(found.values())
        before = {name: alike(case).fingerprint for name, case in gone.items() if name not in taken}
        after = {name: alike(case).fingerprint for name, case in new.items() if name not in found}
        only_before = {shape for shape, times in Counter(before.values()).items() if times == 1}
        only_after = {shape for shape, times in Counter(after.values()).items() if times == 1}
        names = {shape: name for name, shape in before.items() if shape in only_before & only_after}
        found |= {name: names[shape] for name, shape in after.items() if shape in names}
    return found
