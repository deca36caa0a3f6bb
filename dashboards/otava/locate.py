"""Steps of many series. Runs in this folder's own environment, imports nothing of nightbench.

Standard input: ``[{"values": [...], "least": SHARE}, ...]``, values oldest first and finite, and the least relative
change that is of interest. Standard output: for each series, in order, ``[[INDEX, BEFORE, AFTER, P], ...]``: the first
value at the new level, the means on both sides of it up to the neighbouring steps, and the p-value of Otava's t-test.
"""

import json
import sys

from otava.analysis import compute_change_points


def located(values: list[float], least: float) -> list[tuple[int, float, float, float]]:
    """By Otava's own defaults, but for the least change."""
    if len(values) < 2:
        return []
    found, _ = compute_change_points(values, min_magnitude=least)
    return [
        (int(point.index), float(point.stats.mean_1), float(point.stats.mean_2), float(point.stats.pvalue))
        for point in found
    ]


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    json.dump([located([float(value) for value in each["values"]], each["least"]) for each in asked], sys.stdout)
