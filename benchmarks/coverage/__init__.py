"""Do intervals hold the truth as often as they say? `python -m benchmarks.coverage` prints the table."""
