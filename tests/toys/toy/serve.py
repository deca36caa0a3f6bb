"""TorchScript behind Python's own HTTP server, with flaws to order."""

import argparse
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import torch

ANSWERS_BEFORE_DEATH = 30


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("artifact", "signature", "host", "load-time", "flaw"):
        parser.add_argument(f"--{name}")
    for name in ("port", "threads", "delay-ms"):
        parser.add_argument(f"--{name}", type=int)
    args = parser.parse_args()
    if args.flaw == "dies_at_start":
        raise SystemExit("the toy was told to die at its start")
    torch.set_num_threads(args.threads)
    started_ns = time.monotonic_ns()
    model = torch.jit.load(args.artifact)
    Path(args.load_time).write_text(str(time.monotonic_ns() - started_ns), encoding="ascii")
    tensor = json.loads(Path(args.signature).read_text(encoding="utf-8"))["inputs"][0]
    answers, lock = iter(range(1 << 62)), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = bytearray(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = next(answers)
            if args.flaw == "never_answers":
                time.sleep(60)
            if args.flaw == "dies_under_load" and number > ANSWERS_BEFORE_DEATH:
                os._exit(7)
            time.sleep(args.delay_ms / 1000)
            array = np.frombuffer(body, tensor["dtype"]).reshape(-1, *tensor["shape"])
            with torch.inference_mode():
                answer = model(torch.from_numpy(array))
            first = answer[0] if isinstance(answer, tuple) else answer
            if args.flaw == "mixes_batches":
                first = first.flip(0)
            payload = (first + (args.flaw == "answers_wrongly")).numpy().tobytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_: object) -> None:
            pass

    ThreadingHTTPServer((args.host, args.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
