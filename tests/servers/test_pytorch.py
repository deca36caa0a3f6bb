"""The in-process floor, in its own environment as the load engine loads it."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from nightbench.model import Artifact, Format
from servers import discover
from tests.servers.running import serve_request
from tests.servers.toy import reference

# Read-only inputs, as a memory-mapped pool would give them.
CALL = """
import json, runpy, sys
import numpy as np
serve, artifact, mode = sys.argv[1:]
predict = runpy.run_path(serve)["load"](artifact, {"outputs": "scores,doubled", "mode": mode}, 1)
image, ids = np.ones((2, 3, 4), "<f4"), np.arange(6).reshape(2, 3)
image.flags.writeable = False
answer = predict({"image": image, "ids": ids})
print(json.dumps({name: array.tolist() for name, array in answer.items()}))
"""


@pytest.mark.parametrize("mode", ["plain", "optimize_for_inference"])
def test_a_plain_function_from_named_inputs_to_named_outputs(
    artifacts: dict[Format, Artifact], tmp_path: Path, mode: str
) -> None:
    spec = discover()["pytorch"]
    request = serve_request(spec, artifacts[Format.TORCHSCRIPT], tmp_path, mode=mode)
    command = spec.command(request)
    done = subprocess.run(
        [*command.argv, "-c", CALL, str(spec.folder / "serve.py"), str(request.artifact.path), mode],
        env={"PATH": "/usr/bin:/bin", **command.env},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    answer = json.loads(done.stdout)
    assert list(answer) == ["scores", "doubled"]
    np.testing.assert_allclose(answer["scores"], reference(np.ones((2, 3, 4)), np.zeros((2, 3)))[0], atol=1e-5)
    assert answer["doubled"] == [[0, 2, 4], [6, 8, 10]]
    assert done.stderr == ""
