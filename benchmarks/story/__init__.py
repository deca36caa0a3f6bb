"""A regression from its first night to its last, for real: `python -m benchmarks.story` plants one and tells."""
