"""Are the judge's alerts true, and are they in time? `python -m benchmarks.judge` prints the tables."""
