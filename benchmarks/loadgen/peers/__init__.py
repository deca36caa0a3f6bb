"""Python clients that others use, one file each, run as ``python -m benchmarks.loadgen.peers.NAME``."""
