"""What each client says a request took, beside what the wire says: `python -m benchmarks.truth`."""
