"""A stand-in for an OpenAI-compatible server: tokens at seeded times, which it writes down."""

import json
import socketserver
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def event(choice: dict[str, Any] | None, **more: Any) -> bytes:
    said = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice] if choice else [], **more}
    text = b"data: " + json.dumps(said).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(text), text)


def token(number: int) -> bytes:
    return event({"index": 0, "delta": {"content": f' {number}"\n'}, "finish_reason": None})


ROLE = event({"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None})
FINISH = event({"index": 0, "delta": {}, "finish_reason": "length"})
LAST = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


@dataclass
class OpenAiServer:
    """Answers with as many tokens as asked, ``burst`` of them in one write, and counts them in its usage."""

    seed: int = 0
    mean_gap_s: float = 0.002
    burst: int = 1
    requests: list[dict[str, Any]] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)
    sent_ns: list[list[int]] = field(default_factory=list)
    """For each request, when each of its tokens was handed to the kernel, by the clock of the samples."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> "OpenAiServer":
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            disable_nagle_algorithm = True

            def handle(self) -> None:
                while line := self.rfile.readline():
                    length = 0
                    while (header := self.rfile.readline().strip()) != b"":
                        name, _, value = header.partition(b":")
                        length = int(value) if name.lower() == b"content-length" else length
                    outer._answer(line.split()[1].decode(), json.loads(self.rfile.read(length)), self.wfile)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _answer(self, path: str, request: dict[str, Any], file: Any) -> None:
        tokens = request["max_tokens"]
        with self._lock:
            number = len(self.requests)
            self.requests.append(request)
            self.paths.add(path)
            sent: list[int] = []
            self.sent_ns.append(sent)
        gaps = np.random.default_rng((self.seed, number)).exponential(self.mean_gap_s, tokens)
        file.write(HEAD + ROLE)
        for first in range(0, tokens, self.burst):
            time.sleep(gaps[first])
            several = range(first, min(first + self.burst, tokens))
            sent += [time.monotonic_ns()] * len(several)
            file.write(b"".join(map(token, several)))
        file.write(FINISH + event(None, usage={"prompt_tokens": 4, "completion_tokens": tokens}) + LAST)
