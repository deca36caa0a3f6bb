"""Plant a slower server, then a slower machine, and tell what the nights make of them.

    python -m benchmarks.story [--quiet-nights N]

Real servers (copies of ``servers/onnxruntime``), real Postgres, real Prefect, real re-runs; only the nights follow each
other within minutes. Needs half an hour, and for the slower machine the right to make a cgroup.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import Cpus, describe
from benchmarks.story.plants import NAMES, Garden, slower_machine
from benchmarks.story.receiver import Receiver, receiver

SUITE = """
name: story
description: Three servers alike, one of which will change
rounds: 4
threads: 1
measure: {warmup_s: 0.5, duration_s: 6, timeout_s: 5, precision: {p50: 0.03}}
judge: {min_nights: 5, confirm: {min_pairs: 4, max_pairs: 8, budget_share: 0.9}}
sweeps:
  - models: [mobilenet_v2_035_96]
    servers: [%s]
    loads: [{closed: 2}]
"""
_BLOCK = """
import sys
from flows.prefect_settings import configure
from flows.services import prefect_up
from nightbench.settings import Settings
settings = Settings.from_environment()
configure(settings, prefect_up(settings).api_url)
from prefect.blocks.notifications import CustomWebhookNotificationBlock
block = CustomWebhookNotificationBlock(
    name="story", url=sys.argv[1], method="POST", json_data={"subject": "{{subject}}", "body": "{{body}}"}
)
block.save("story", overwrite=True)
"""


@dataclass(slots=True)
class Story:
    """One world of its own: a home, a database, a Prefect server, three servers."""

    suite: Path
    environment: Mapping[str, str]
    receiver: Receiver
    nights: int = 0
    began_s: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.began_s:5.0f} s] {text}", flush=True)

    def call(self, *arguments: str, before: Sequence[str] = (), good: Sequence[int] = (0,)) -> str:
        done = subprocess.run(
            (*before, sys.executable, "-m", "flows.cli", *arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in good:
            raise RuntimeError(
                f"nightbench {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def night(self, what: str, before: Sequence[str] = ()) -> None:
        """One night, what it says of its series, and what it sends."""
        known = len(self.receiver.messages)
        self.nights += 1
        self.call("run", str(self.suite), before=before, good=(0, 3))
        self.say(f"night {self.nights}, {what}: {self.verdicts()}")
        for message in self.receiver.messages[known:]:
            print(f"  message: {message['subject']}")
            print("\n".join(f"    {line}" for line in message["body"].splitlines()))

    def verdicts(self) -> str:
        judged = json.loads(self.call("judge", "--json"))["series"]
        return "; ".join(
            f"{each['label']} {each['verdict']}" + (f" ({each['detail']})" if each["detail"] else "") for each in judged
        )

    def alerts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.call("alerts", "--all", "--json"))["alerts"]
        return found

    def regressions(self) -> list[int]:
        """The alerts of regressions, by number."""
        return [alert["number"] for alert in self.alerts() if alert["finding"]["kind"] == "regression"]

    def tell_alerts(self) -> None:
        for alert in self.alerts():
            self.say(f"alert {alert['number']}, {alert['state']}: {alert['finding']['title']}")


def main() -> None:
    """Tell the story."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quiet-nights", type=int, default=8, help="nights before anything changes")
    parser.add_argument("--slower-by", type=float, default=0.10, help="share of the computing time that is planted")
    chosen = parser.parse_args()
    # Unwind: what this starts outlives the commands that start it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print("\n".join(describe(Cpus(None, None))))
    with tempfile.TemporaryDirectory(prefix="nightbench-story-") as folder, receiver() as found:
        home, garden = Path(folder), Garden(Path(folder) / "servers")
        suite = home / "story.yaml"
        suite.write_text(SUITE % ", ".join(NAMES), encoding="utf-8")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        environment |= {
            "NIGHTBENCH_HOME": str(home / "home"),
            "NIGHTBENCH_SERVERS_PATH": str(garden.folder),
            "NIGHTBENCH_NOTIFY": "custom-webhook/story",
        }
        story = Story(suite, environment, found)
        try:
            story.call("up")
            subprocess.run((sys.executable, "-c", _BLOCK, found.url), env=environment, check=True)
            _tell(story, garden, chosen.quiet_nights, chosen.slower_by)
        finally:
            story.call("down", good=(0, 1))


def _tell(story: Story, garden: Garden, quiet_nights: int, slower_by: float) -> None:
    for _ in range(quiet_nights):
        story.night("nothing changed")
    garden.slow_down(slower_by)
    story.say(f"planted: {NAMES[0]} computes {slower_by:.0%} longer, and one of its packages has another version")
    for _ in range(3):
        story.night("with the plant")
        if story.regressions():
            break
    story.tell_alerts()
    for number in story.regressions():
        story.say("bisect: " + story.call("bisect", str(number), good=(0, 3)).strip().splitlines()[-1])
    garden.mend()
    story.say("mended")
    for _ in range(3):
        story.night("mended")
        if all(alert["state"] not in {"open", "acknowledged"} for alert in story.alerts()):
            break
    story.tell_alerts()
    with slower_machine(0.8) as before:
        story.say("the machine is slowed down as a whole")
        for _ in range(2):
            story.night("on a slower machine", before)
    story.tell_alerts()


if __name__ == "__main__":
    main()
