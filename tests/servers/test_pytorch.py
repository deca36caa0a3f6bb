"""The in-process floor, in its own environment as the load engine loads it."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from nightbench.model import Artifact, Format
from nightbench.server import OptionValue
from servers import discover
from tests.servers.running import serve_request
from tests.servers.toy import reference

# Read-only inputs, as a memory-mapped pool would give them.
CALL = """
import json, runpy, sys
import numpy as np
serve, artifact, options = sys.argv[1:]
try:
    predict = runpy.run_path(serve)["load"](artifact, {"outputs": "scores,doubled", **json.loads(options)}, 1)
except ValueError as error:
    sys.exit(str(error))
image, ids = np.ones((2, 3, 4), "<f4"), np.arange(6).reshape(2, 3)
image.flags.writeable = False
answer = predict({"image": image, "ids": ids})
print(json.dumps({name: array.tolist() for name, array in answer.items()}))
"""


def call(
    artifact: Artifact, folder: Path, options: dict[str, OptionValue], path: str = "/usr/bin:/bin"
) -> subprocess.CompletedProcess[str]:
    """Run `CALL` as the load engine would run the model: in the server's environment, its temporary folder its own."""
    spec = discover()["pytorch"]
    request = serve_request(spec, artifact, folder, **options)
    command = spec.command(request)
    return subprocess.run(
        [*command.argv, "-c", CALL, str(spec.folder / "serve.py"), str(request.artifact.path), json.dumps(options)],
        env={"PATH": path, "TMPDIR": str(folder), "HOME": str(folder / "home"), **command.env},
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )


@pytest.mark.parametrize(
    ("format_", "mode"),
    [
        (Format.TORCHSCRIPT, "plain"),
        (Format.TORCHSCRIPT, "optimize_for_inference"),
        (Format.TORCH_EXPORT, "plain"),
        (Format.TORCH_EXPORT, "compile"),
    ],
)
def test_a_plain_function_from_named_inputs_to_named_outputs(
    artifacts: dict[Format, Artifact], tmp_path: Path, format_: Format, mode: str
) -> None:
    done = call(artifacts[format_], tmp_path, {"mode": mode})
    assert done.stderr == ""
    answer = json.loads(done.stdout)
    assert list(answer) == ["scores", "doubled"]
    np.testing.assert_allclose(answer["scores"], reference(np.ones((2, 3, 4)), np.zeros((2, 3)))[0], atol=1e-5)
    assert answer["doubled"] == [[0, 2, 4], [6, 8, 10]]
    # What was compiled lies where the deployment's files lie, and goes with them.
    assert any(tmp_path.glob("torchinductor_*/**/*.so")) == (mode == "compile")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("format_", "options", "said"),
    [
        (Format.TORCHSCRIPT, {"mode": "compile"}, "mode 'compile' is for torch-export, and this is torchscript; use "),
        (
            Format.TORCH_EXPORT,
            {"mode": "optimize_for_inference"},
            "mode 'optimize_for_inference' is for torchscript, and this is torch-export; use ",
        ),
    ],
)
def test_a_mode_that_does_not_fit_its_format_is_one_sentence(
    artifacts: dict[Format, Artifact], tmp_path: Path, format_: Format, options: dict[str, OptionValue], said: str
) -> None:
    done = call(artifacts[format_], tmp_path, options)
    assert done.stdout == ""
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


def test_without_a_compiler_it_says_what_to_install(artifacts: dict[Format, Artifact], tmp_path: Path) -> None:
    done = call(artifacts[Format.TORCH_EXPORT], tmp_path, {"mode": "compile"}, path=str(tmp_path))
    assert done.stdout == ""
    assert done.stderr.startswith("mode 'compile' needs a C++ compiler, and there is no g++ on the PATH; install it ")
    assert done.stderr.count("\n") == 1
