"""``python -m export``: a `Question` as JSON on standard input, an `Answer` as the last line of standard output.

Everything that libraries print, to either stream, goes to standard error.
"""

import os
import resource
import sys

from pydantic import TypeAdapter

from export.worker import Answer, Question, answer, die_with


def main() -> None:
    out = os.dup(1)
    os.dup2(2, 1)  # below Python's own streams: C++ libraries print too
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash shall not leave gigabytes behind
    question = TypeAdapter(Question).validate_json(sys.stdin.buffer.read())
    if question.parent is not None:
        die_with(question.parent)
    reply = answer(question.job)
    with os.fdopen(out, "wb") as stream:
        stream.write(TypeAdapter(Answer).dump_json(reply) + b"\n")


if __name__ == "__main__":
    main()
