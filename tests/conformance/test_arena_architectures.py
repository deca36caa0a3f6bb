"""The three architectures of the arena are one pipeline: asked the same images, they say the same, crop for crop."""

from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest

from export import zoo
from export.pool import load_pool
from nightbench.model import Format, ModelSpec
from nightbench.server import Deployment, OptionValue, Protocol
from tests.conformance.conftest import ABSENT, SPECS
from tests.conformance.subject import TIMEOUT_S, Subject

WAYS: tuple[tuple[str, Mapping[str, OptionValue]], ...] = (
    ("arena_monolith", {}),
    ("arena_monolith", {"join_crops": True}),
    ("arena_microservices", {}),
    ("arena_microservices", {"join_crops": True}),
    ("arena_triton", {}),
    ("arena_triton", {"dynamic_batching": True, "max_queue_delay_microseconds": 5000}),
)
BATCH = 4
ALIKE = 1e-5
"""All run one file in one runtime; only a batch of crops may sum in another order than one crop does."""


class _Tiny(Subject):
    @property
    def model(self) -> ModelSpec:
        return zoo.models()["tiny_arena"]


def _told(deployment: Deployment, model: ModelSpec, images: np.ndarray) -> dict[str, np.ndarray]:
    endpoint = deployment.endpoints[Protocol.RAW_HTTP]
    headers = {"Content-Type": "application/octet-stream", "X-Batch": str(len(images))}
    with closing(HTTPConnection(endpoint.host, endpoint.port, timeout=TIMEOUT_S)) as connection:
        connection.request("POST", "/v1/predict", images.tobytes(), headers)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body
    told, at = {}, 0
    for output in model.outputs:
        size = len(images) * output.item_bytes
        flat = np.frombuffer(body[at : at + size], output.dtype.numpy)
        told[output.name], at = flat.reshape(len(images), *output.shape), at + size
    assert at == len(body)
    return told


@pytest.mark.skipif(any(name in ABSENT for name, _ in WAYS), reason="an architecture cannot run here")
def test_all_architectures_answer_alike(tmp_path: Path) -> None:
    subjects: dict[str, Subject] = {}
    for name, _ in WAYS:
        if name not in subjects:
            (tmp_path / name).mkdir()
            subjects[name] = _Tiny(SPECS[name], tmp_path / name)
    inputs, _ = load_pool(next(iter(subjects.values())).prepared(Format.STAGES).pool)
    images = inputs["image"][:BATCH]
    first: dict[str, np.ndarray] = {}
    for name, options in WAYS:
        with subjects[name].launched(options) as launched:
            told = _told(launched.deployment, subjects[name].model, images)
        first = first or told
        assert set(told["count"].ravel()) <= {3, 4, 5}
        for output in ("count", "labels"):
            np.testing.assert_array_equal(told[output], first[output], err_msg=f"{name} {options}")
        for output in ("boxes", "scores"):
            np.testing.assert_allclose(told[output], first[output], atol=ALIKE, err_msg=f"{name} {options}")
