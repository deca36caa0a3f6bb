"""Factories of a user's own: what is wrong with one is a sentence, and what is right is exported and agrees."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from export import custom
from export.artifact import export_model
from export.cache import Cache
from export.isolated import found
from nightbench.errors import ExportError
from nightbench.model import Custom as Given
from nightbench.model import Format, ModelSpec, Precision
from tests.export.custom_work import spec_of, tried

NET = """
import os, time
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 2)

    def forward(self, x):
        return self.linear(x)

def make():
    return Net()
"""
COUNTED = (
    NET.replace("return Net()", "net = Net(); net.linear.bias.data += next(COUNT)")
    + """
    return net

import itertools
COUNT = itertools.count()
"""
)


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Path]:
    """A folder for a user's modules, forgotten afterwards."""
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
    sys.path[:] = [each for each in sys.path if each != str(tmp_path)]


def factory(package: Path, code: str, function: str = "make") -> ModelSpec:
    (package / "users_net.py").write_text(code)
    return spec_of(Given(f"users_net:{function}", folder=package))


def sentence(spec: ModelSpec) -> str:
    with pytest.raises(ExportError) as caught:
        custom.build(spec)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def net(forward: str) -> str:
    return NET.replace("return self.linear(x)", forward)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nosuchpackage\n", "factory users_net:make cannot be imported: ModuleNotFoundError"),
        ("def make(:\n", "cannot be imported: SyntaxError"),
        ("raise SystemExit(3)\n", "cannot be imported: SystemExit: 3"),
        ("other = 1\n", "is not there: "),
        ("make = 1\n", "users_net.py has no function 'make'"),
        ("def make():\n    raise ValueError('no weights\\nhere')\n", "users_net:make raised ValueError: no weights"),
        ("def make(size):\n    pass\n", "raised TypeError: make() missing 1 required positional argument"),
        ("def make():\n    return {'weight': 1}\n", "returned a dict; let it return a torch.nn.Module"),
        (NET.replace("return Net()", "return Net().half()"), "returned weights in torch.float16"),
        (net("return {'y': self.linear(x)}"), "returns a dict; let it return a tensor, or tensors in a tuple"),
        (net("return [self.linear(x)]"), "returns a list"),
        (net("return self.linear(x), x"), "gives 2 outputs, not 1 (y)"),
        (net("return self.linear(x)[:, :1]"), "output 'y' is float32(2, 1) for 2 items, and shall be float32(2, 2)"),
        (net("return self.linear(x).double()"), "output 'y' is float64(2, 2)"),
        (net("return self.linear(x)[:2]"), "output 'y' is float32(2, 2) for 3 items"),
        (net("return self.linear(x)[self.linear(x)[:, 0] > 1e9]"), "a shape must not hang on values"),
        (net("return self.linear(x) / 0 * 0"), "output 'y' is not finite in the original itself"),
        (net("return self.linear(x[:, :2])"), "fails on 2 items of its inputs: RuntimeError"),
        (net("return self.linear(x).squeeze(0)"), "output 'y' is float32(2,) for 1 items"),
        (net("return self.linear(x) - self.linear(x).mean(0)"), "mixes the items of a batch: one alone is answered"),
        (net("return torch.nn.functional.dropout(self.linear(x), 0.5, True)"), "gives other answers to the same items"),
        (COUNTED, "factory users_net:make returned other weights when called again"),
    ],
)
def test_a_factory_that_does_not_give_what_was_said(package: Path, code: str, said: str) -> None:
    assert said in sentence(factory(package, code))


def test_a_factory_is_put_in_evaluation_mode_seeded_and_returns_a_tuple(package: Path) -> None:
    spec = factory(package, net("return torch.nn.functional.dropout(self.linear(x), 0.5, self.training)"))
    one, two = custom.build(spec), custom.build(spec)
    x = torch.ones(1, 3)
    assert not one.training
    assert torch.equal(one(x)[0], two(x)[0])
    assert not torch.equal(one(x)[0], custom.build(replace(spec, seed=7))(x)[0])


def test_a_module_that_hides_behind_another_is_found_out(package: Path) -> None:
    (package / "json.py").write_text(NET)
    assert "is hidden by" in sentence(spec_of(Given("json:make", folder=package)))


def test_a_source_that_changed_since_the_run_was_planned_is_not_exported_under_its_name(package: Path) -> None:
    spec = factory(package, NET)
    (package / "users_net.py").write_text(NET + "\n")
    assert "has changed since this run was planned" in sentence(spec)


def test_a_factory_is_exported_and_agrees_and_is_found_again(package: Path) -> None:
    spec = factory(package, "print('I like to print')\n" + NET)
    first = tried(spec, package, Format.TORCHSCRIPT)
    assert all(output.passed for output in first.parity)
    assert 100e6 < first.artifact.peak_rss_bytes < 8e9
    again = found(spec, Format.TORCHSCRIPT, Precision.FP32, "given", package / "cache", 4, (1, 3))
    assert again is not None
    assert again.cached
    assert again.artifact == first.artifact  # peak memory and time of the export included
    assert "users_net" not in sys.modules


@pytest.mark.parametrize(
    ("code", "timeout_s", "gib", "said"),
    [
        (NET + "time.sleep(600)\n", 5, 8, "took longer than 5 s and was ended"),
        (NET + "hoard = [bytearray(b'1') * 2**28 for _ in range(1000)]\n", 300, 2, "GiB of memory and was ended"),
        (NET + "os._exit(0)\n", 300, 8, "ended with exit code 0 and no answer"),
    ],
    ids=["hangs", "eats memory", "exits"],
)
def test_what_ends_the_process_is_a_sentence(package: Path, code: str, timeout_s: float, gib: float, said: str) -> None:
    with pytest.raises(ExportError) as caught:
        tried(factory(package, code), package, Format.ONNX, timeout_s, gib)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "users_net" not in sys.modules


def test_an_operator_that_a_format_does_not_have_is_a_sentence(package: Path) -> None:
    spec = factory(package, net("return torch.linalg.eigvalsh(x[..., None] * x[:, None])[:, :2]"))
    with pytest.raises(ExportError, match=r"mine.*onnx.*not supported") as caught:
        export_model(spec, Format.ONNX, Precision.FP32, "given", Cache(package / "cache"), {})
    assert "\n" not in str(caught.value)
