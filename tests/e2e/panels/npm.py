"""Node's part: packages by their lock, types checked, one bundle made."""

import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

from dashboards.grafana.files import rendered
from nightbench.errors import UsageError

__all__ = ["bundle", "check_types", "install"]

_HERE = Path(__file__).parent


def install(folder: Path) -> None:
    """The locked packages in ``folder``; nothing of theirs is run. Only where the lock has changed."""
    if shutil.which("npm") is None:
        raise UsageError("npm: it is not on the PATH; install Node 20 or newer to draw panels")
    folder.mkdir(parents=True, exist_ok=True)
    lock = (_HERE / "package-lock.json").read_bytes()
    stamp = folder / "installed"
    if not (stamp.exists() and stamp.read_text() == sha256(lock).hexdigest()):
        for name in ("package.json", "package-lock.json", "tsconfig.json"):
            shutil.copy(_HERE / name, folder / name)
        _run(folder, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
        stamp.write_text(sha256(lock).hexdigest())
    shutil.rmtree(folder / "src", ignore_errors=True)
    shutil.copytree(_HERE / "src", folder / "src")


def check_types(folder: Path) -> None:
    """Every dashboard's JSON is what ``@grafana/schema`` says a dashboard is, in names and in values."""
    made = folder / "made"
    made.mkdir(exist_ok=True)
    for name, text in rendered().items():
        stem = name.removesuffix(".json")
        source = f"import type {{ Board }} from '../src/types';\n\nexport const board: Board = {text.strip()};\n"
        (made / f"{stem}.ts").write_text(source, encoding="utf-8")
    _run(folder, "node_modules/.bin/tsc", "--project", ".")


def bundle(folder: Path) -> Path:
    """The script that draws a page."""
    _run(
        folder,
        *("node_modules/.bin/esbuild", "src/draw.tsx", "--bundle", "--outfile=draw.js", "--jsx=automatic"),
        *('--define:process.env.NODE_ENV="production"', "--loader:.ttf=empty", "--log-level=error"),
        # Their ESM builds import CommonJS packages as only webpack takes it; the CommonJS builds say what they mean.
        *(f"--alias:{each}=./node_modules/{each}/dist/cjs/index.cjs" for each in ("@grafana/ui", "@grafana/data")),
        "--alias:@grafana/data/unstable=./node_modules/@grafana/data/dist/cjs/unstable.cjs",
    )
    return folder / "draw.js"


def _run(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UsageError(f"{' '.join(command[:2])}: {(done.stdout + done.stderr).strip()[-4000:]}")
