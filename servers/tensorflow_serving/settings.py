"""TensorFlow Serving's own files, as protobuf text: ``BatchingParameters`` and ``MonitoringConfig``."""

from collections.abc import Mapping

from nightbench.server import OptionValue

__all__ = ["MONITORING", "batching_parameters"]

MONITORING = 'prometheus_config {\n  enable: true\n  path: "/monitoring/prometheus/metrics"\n}\n'


def batching_parameters(options: Mapping[str, OptionValue]) -> str:
    """Every field it has a say in: its defaults depend on the machine."""
    names = ("max_batch_size", "batch_timeout_micros", "num_batch_threads", "max_enqueued_batches")
    return "".join(f"{name} {{ value: {options[name]} }}\n" for name in names)
