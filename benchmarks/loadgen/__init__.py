"""The load engine beside the clients others use: `python -m benchmarks.loadgen` prints the tables."""
