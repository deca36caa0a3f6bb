"""Servers are found, not listed, and a bad folder is named to its owner."""

from pathlib import Path

import pytest

from nightbench.errors import UsageError
from nightbench.model import Format
from nightbench.server import Protocol
from servers import discover

TOY = """
from pathlib import Path
from nightbench.model import Format
from nightbench.server import Command, Protocol, ServerSpec
from .words import TITLE
SERVER = ServerSpec(
    name={name!r}, title=TITLE, folder=Path(__file__).parent, distribution="numpy", formats=(Format.ONNX,),
    protocols={{Protocol.RAW_HTTP: "http"}}, command=lambda request: Command(("true",)),
)
"""


def folder(parent: Path, name: str, source: str) -> Path:
    path = parent / name
    path.mkdir(parents=True)
    (path / "__init__.py").write_text(source)
    (path / "words.py").write_text("TITLE = 'A toy'\n")
    return path


def test_every_folder_here_is_a_server() -> None:
    found = discover()
    here = Path(__file__).parents[2] / "servers"
    assert {spec.folder for spec in found.values()} == {init.parent for init in here.glob("*/__init__.py")}
    assert {"pytorch", "fastapi", "onnxruntime", "flask", "triton"} <= found.keys()


@pytest.mark.parametrize("name", sorted(discover()))
def test_a_server_says_all_that_a_night_needs(name: str) -> None:
    spec = discover()[name]
    assert spec.name == name
    assert spec.formats or not spec.process
    assert all(port in spec.ports or spec.in_process for port in spec.protocols.values())
    assert spec.in_process or (spec.folder / "Dockerfile").is_file() != bool(spec.image)
    assert len({option.name for option in spec.options}) == len(spec.options)
    if spec.check is not None:
        spec.check(spec.resolve({}))
    for option in spec.options:
        assert option.help.endswith(".")
        assert not option.choices or option.default in option.choices


@pytest.mark.parametrize("name", sorted(name for name, spec in discover().items() if spec.process))
def test_a_process_has_its_packages_pinned_for_any_machine(name: str) -> None:
    spec = discover()[name]
    pinned = spec.requirements.read_text()
    assert f"{spec.distribution}==" in pinned
    assert "://" not in pinned, "an index address would tie the list to one machine"
    assert "+cpu" not in pinned
    assert "nvidia-cu" not in pinned


@pytest.mark.parametrize("name", sorted(discover()))
def test_what_runs_in_a_servers_environment_imports_nothing_of_ours(name: str) -> None:
    ours = ("nightbench", "servers", "loadgen", "launch", "tasks", "flows")
    for script in ("serve.py", "model.py", "batching.py", "start.py"):
        path = discover()[name].folder / script
        if path.exists():
            lines = [line.split() for line in path.read_text().splitlines()]
            imported = [words[1] for words in lines if words[:1] in (["import"], ["from"])]
            assert not [module for module in imported if module.startswith(ours)]


def test_a_folder_elsewhere_adds_a_server_with_its_own_modules(tmp_path: Path) -> None:
    path = folder(tmp_path, "mine", TOY.format(name="mine"))
    spec = discover([tmp_path])["mine"]
    assert (spec.title, spec.folder, spec.formats) == ("A toy", path, (Format.ONNX,))
    assert spec.protocols == {Protocol.RAW_HTTP: "http"}


def test_folders_of_one_name_do_not_meet(tmp_path: Path) -> None:
    folder(tmp_path / "a", "same", TOY.format(name="first"))
    folder(tmp_path / "b", "same", TOY.format(name="second"))
    assert {"first", "second"} <= discover([tmp_path / "a", tmp_path / "b"]).keys()


def test_a_package_without_a_server_is_passed_over(tmp_path: Path) -> None:
    folder(tmp_path, "helpers", "x = 1\n")
    assert discover([tmp_path]).keys() == discover().keys()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_module\n", "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'"),
        ("def broken(:\n", "cannot be imported: SyntaxError"),
        ("SERVER = 'triton'\n", "SERVER is a str"),
        (TOY.format(name="triton"), "'triton' is already taken"),
    ],
)
def test_a_bad_folder_is_named(tmp_path: Path, source: str, said: str) -> None:
    path = folder(tmp_path, "bad", source)
    with pytest.raises(UsageError) as caught:
        discover([tmp_path])
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_extra_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere is not a folder"):
        discover([tmp_path / "nowhere"])
