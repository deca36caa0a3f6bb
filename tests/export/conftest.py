"""One real export of the tiny model in each of its formats, shared by every test that only reads it."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from export import zoo
from export.formats.base import exporter
from export.isolated import Prepared, prepare
from nightbench.model import Format, ModelSpec, Precision
from nightbench.stopping import never

FORMATS = tuple(
    each
    for each in zoo.models()["tiny_cnn"].formats
    # The rest takes an environment of its own, or a GPU.
    if not exporter(each).environments and each is not Format.TENSORRT
)
COUNT = 6
BATCHES = (1, 4)


def prepared_in(
    folder: Path, file_format: Format, weights: str = "random", should_stop: Callable[[], bool] = never
) -> Prepared:
    return prepare(
        zoo.models()["tiny_cnn"],
        file_format,
        Precision.FP32,
        weights,
        cache=folder / "cache",
        pool_count=COUNT,
        batches=BATCHES,
        log=folder / "export.log",
        timeout_s=300,
        should_stop=should_stop,
    )


@pytest.fixture(scope="session")
def tiny() -> ModelSpec:
    return zoo.models()["tiny_cnn"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("export")


@pytest.fixture(scope="session")
def exports(folder: Path) -> Mapping[Format, Prepared]:
    return {file_format: prepared_in(folder, file_format) for file_format in FORMATS}
