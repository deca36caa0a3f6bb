"""How long it takes to know a latency well enough: `python -m benchmarks.precision`."""
