"""Run one program to its end, then become another: ``start.py PROGRAM ARGUMENT... -- SERVER ARGUMENT...``.

Runs in the container and imports nothing of nightbench. The server takes this process's place, and so gets its signals.
"""

import os
import subprocess
import sys


def main() -> None:
    cut = sys.argv.index("--")
    before, server = sys.argv[1:cut], sys.argv[cut + 1 :]
    done = subprocess.run(before, check=False)
    if done.returncode:
        raise SystemExit(f"{before[0]} ended with code {done.returncode}")
    os.execvp(server[0], server)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
