"""What every test relies on, however the tests were started."""

import signal

# A shell starts background jobs with Ctrl-C ignored, and children inherit that: the tests that send it would see
# nothing happen.
signal.signal(signal.SIGINT, signal.default_int_handler)
