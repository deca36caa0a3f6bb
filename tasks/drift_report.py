"""Distributions of tonight and of the window before it as one HTML page of Evidently's.

Run as a module by `tasks.drift`, see `tasks.apart`.
"""

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dashboards.offline import write_whole
from nightbench.drift import shift
from tasks.apart import answer

__all__ = ["draw"]

_METHOD = "nightbench_quantile_shift"
_POLICY = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'unsafe-inline' "
    "'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:\">"
)
"""Evidently's page holds all that it needs. Under this policy it could not fetch more if a later version wanted to."""
_NOTE = '<p style="max-width: 80ch; margin: 24px auto 0; font: 15px/1.5 system-ui, sans-serif">{}</p>'


def draw(question: Mapping[str, Any]) -> dict[str, int]:
    """Write the page to ``path``. ``groups`` are ``{"title", "threshold", "columns"}``, where a column is, by its name,
    ``[tonight, window]``: rows of numbers of one length in all. ``note`` stands above, and ``links`` (href, words).

    Returns how many distributions of each group, by its title, are further apart than its threshold.
    """
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    _register()
    columns = {name: both for group in question["groups"] for name, both in group["columns"].items()}
    definition = DataDefinition(numerical_columns=list(columns))
    tonight, window = (
        Dataset.from_pandas(pd.DataFrame({name: both[side] for name, both in columns.items()}), definition)
        for side in (0, 1)
    )
    presets = [
        DataDriftPreset(columns=list(group["columns"]), num_method=_METHOD, num_threshold=group["threshold"])
        for group in question["groups"]
    ]
    page = Report(presets).run(tonight, window).get_html_str(as_iframe=False)
    links = " · ".join(f'<a href="{html.escape(href)}">{html.escape(words)}</a>' for href, words in question["links"])
    note = _NOTE.format(f"{html.escape(question['note'])} {links}")
    page = page.replace("<head>", f"<head>{_POLICY}", 1).replace("<body>", f"<body>{note}", 1)
    if _POLICY not in page or note not in page:
        raise RuntimeError("this version of Evidently makes another page than expected")
    write_whole(page, Path(question["path"]))
    return {
        group["title"]: sum(shift(*both) >= group["threshold"] for both in group["columns"].values())
        for group in question["groups"]
    }


def _register() -> None:
    """Teach Evidently our distance: its own are tests, or in standard deviations, see `nightbench.drift`."""
    from evidently.legacy.calculations.stattests import (
        StatTest,
        register_stattest,
    )
    from evidently.legacy.core import ColumnType

    def measure(reference: Any, current: Any, _: Any, threshold: float) -> tuple[float, bool]:
        apart = shift(np.sort(current.to_numpy()), np.sort(reference.to_numpy()))
        return apart, apart >= threshold

    register_stattest(
        StatTest(
            name=_METHOD,
            display_name="mean shift of the quantiles, |ln ratio|",
            allowed_feature_types=[ColumnType.Numerical],
        ),
        measure,
    )


if __name__ == "__main__":
    answer(draw)
