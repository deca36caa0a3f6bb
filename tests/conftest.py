"""What every test relies on, however the tests were started."""

import os
import signal

# A shell starts background jobs with Ctrl-C ignored, and children inherit that: the tests that send it would see
# nothing happen.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A suite leaves it to the machine whether its servers are containers. Tests that want those bring their own engine.
os.environ["DOCKER_HOST"] = "unix:///nowhere/docker.sock"

# xdist tells its workers how wide the terminal is, and a command that is told so folds its tables.
os.environ.pop("COLUMNS", None)
