"""What a server is made of, kept and made again."""

import sys
from pathlib import Path

import pytest

from nightbench.errors import UsageError
from servers import discover, load
from servers.kit import kit_files, kit_sha256, restored
from tests.servers.test_discover import TOY, folder

SERVERS = discover()


@pytest.mark.parametrize("name", sorted(SERVERS))
def test_each_of_our_servers_comes_back_whole_from_its_kit(name: str, tmp_path: Path) -> None:
    spec = SERVERS[name]
    modules = dict(sys.modules)
    files = kit_files(spec)
    again = restored(files, spec, tmp_path)
    assert again.name == name
    assert tmp_path in again.folder.parents
    assert kit_files(again) == files
    assert again.requirements.is_file() == spec.requirements.is_file()
    assert tmp_path in Path(again.command.__code__.co_filename).parents, "its own code, not tonight's"
    ours = {key: module for key, module in sys.modules.items() if f"{key}.".startswith("servers.")}
    assert ours == {key: module for key, module in modules.items() if f"{key}.".startswith("servers.")}


def test_helpers_beside_a_server_are_part_of_it() -> None:
    files = kit_files(SERVERS["arena_monolith"])
    assert {"serve.py", "requirements.txt", "../arena.py", "../raw_http.py", "../arena_common/front.py"} <= files.keys()
    assert not any(name.endswith("Dockerfile") or "__pycache__" in name for name in files)
    assert {"../triton/layout.py", "../triton/__init__.py"} <= kit_files(SERVERS["tensorrt"]).keys()


def test_a_server_of_the_users_comes_back_as_it_was(tmp_path: Path) -> None:
    made = folder(tmp_path / "mine", "quick", TOY.format(name="quick"))
    (made / "weights.bin").write_bytes(b"\xff\xfe\x00")
    (made / "answers.txt").write_text("x" * (1 << 20) + "x")
    (made / "serve.py").write_text("print 'in its own Python'\n")
    spec = load(made)
    assert spec is not None
    files = kit_files(spec)
    assert files.keys() == {"__init__.py", "words.py", "serve.py"}
    (made / "words.py").write_text("TITLE = 'Another'\n")
    assert kit_sha256(kit_files(spec)) != kit_sha256(files)
    again = restored(files, spec, tmp_path / "then")
    assert again.title == "A toy"
    assert again.folder == tmp_path / "then" / "mine" / "quick"


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "inner/../../../x", "../../x"])
def test_a_path_that_leads_elsewhere_is_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leads out"):
        restored({path: "x"}, SERVERS["flask"], tmp_path / "a" / "b")


@pytest.mark.parametrize("path", ["", ".", "x" * 300, "x\0y", "__init__.py/inner.py"])
def test_a_path_that_no_file_can_have_is_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        restored({"__init__.py": "", path: "x"}, SERVERS["flask"], tmp_path)


@pytest.mark.parametrize(
    ("text", "sentence"), [("raise ValueError('no')", "cannot be imported"), ("SERVER = 1", "no server of that name")]
)
def test_a_kit_that_is_no_server_says_so(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=sentence):
        restored({"__init__.py": text}, SERVERS["flask"], tmp_path)
    made = load(folder(tmp_path / "mine", "quick", TOY.format(name="quick")))
    assert made is not None
    with pytest.raises(UsageError, match=sentence):
        restored({"__init__.py": text}, made, tmp_path / "then")
