"""Check the dashboards' JSON against Grafana's types, and draw every panel: ``python -m tests.e2e.panels [FOLDER]``.

Rows come from a real Postgres through the panels' own SQL, pictures from headless Chromium, light and dark, into FOLDER
(``out/panels``). What is Grafana's: the types, the field configuration and its overrides, the plots of time series, the
tables, gauges, numbers, panel frames and themes. What only Grafana's server has is done anew here, in few lines:
expanding macros, turning rows to frames, and drawing heat maps, state timelines, bar charts and XY charts on its plot.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from nightbench.errors import UsageError
from nightbench.settings import Settings
from tests.dashboards.grafana_nights import SPLIT
from tests.dashboards.grafana_store import filled_postgres
from tests.e2e.panels.npm import bundle, check_types, install
from tests.e2e.panels.pages import dashboards, page, write

_WORDS = {
    "fingerprint": "onnxruntime resnet50 b8 raw-http closed c4",
    "metric": "Throughput, requests/s",
    "canary": "matrix_product",
}
_READER = {
    "nightbench-server": (
        {"server": "triton", "fingerprint": SPLIT.fingerprint},
        _WORDS | {"fingerprint": "triton resnet50 b8 kserve-grpc closed c4"},
    )
}
"""Dashboards whose reader has chosen something else, and what that is called."""
_SECONDS = 60


def main(folder: Path) -> None:
    cache = Settings.from_environment().cache / "panels"
    print(f"packages in {cache}")
    install(cache)
    check_types(cache)
    print("the JSON is what @grafana/schema asks for")
    script = bundle(cache)
    folder.mkdir(parents=True, exist_ok=True)
    with filled_postgres() as connection:
        for name in dashboards():
            for theme in ("light", "dark"):
                source = cache / f"{name}-{theme}.html"
                write(source, page(connection, name, theme, *_READER.get(name, ({}, _WORDS))), script)
                print(picture(source, folder / f"{name}-{theme}.png"))


def picture(source: Path, target: Path) -> Path:
    """A picture of the page; `UsageError` where it did not draw."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        raise UsageError("chromium: it is not on the PATH; install it to draw panels")
    done = subprocess.run(
        [
            *(
                browser,
                "--headless=new",
                "--no-sandbox",
                "--hide-scrollbars",
                "--disable-gpu",
                "--enable-logging=stderr",
            ),
            *("--allow-file-access-from-files", "--window-size=1584,2300", "--virtual-time-budget=15000"),
            *(f"--user-data-dir={source.with_suffix('.profile')}", f"--screenshot={target}", source.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if "nightbench: drawn" not in done.stderr or "nightbench: failed" in done.stderr or not target.exists():
        said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        raise UsageError(f"{source.name} was not drawn: " + "\n".join(said)[-3000:])
    return target


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/panels"))
    except UsageError as error:
        sys.exit(str(error))
