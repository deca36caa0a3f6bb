"""The in-process floor, in its own environment as the load engine loads it."""

import json
import subprocess
from pathlib import Path

from nightbench.model import Artifact, Format
from servers import discover
from tests.servers.running import serve_request

# Read-only inputs, as a memory-mapped pool would give them.
CALL = """
import json, runpy, sys
import numpy as np
serve, artifact, weight = sys.argv[1:]
predict = runpy.run_path(serve)["load"](artifact, {"outputs": "scores,doubled"}, 1)
image, ids = np.ones((2, 3, 4), "<f4"), np.arange(6).reshape(2, 3)
image.flags.writeable = False
answer = predict({"image": image, "ids": ids})
print(json.dumps({name: array.tolist() for name, array in answer.items()}))
"""


def test_a_plain_function_from_named_inputs_to_named_outputs(artifacts: dict[Format, Artifact], tmp_path: Path) -> None:
    spec = discover()["pytorch"]
    request = serve_request(spec, artifacts[Format.TORCHSCRIPT], tmp_path)
    command = spec.command(request)
    done = subprocess.run(
        [*command.argv, "-c", CALL, str(spec.folder / "serve.py"), str(request.artifact.path), ""],
        env={"PATH": "/usr/bin:/bin", **command.env},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    answer = json.loads(done.stdout)
    assert list(answer) == ["scores", "doubled"]
    assert answer["doubled"] == [[0, 2, 4], [6, 8, 10]]
    assert done.stderr == ""
