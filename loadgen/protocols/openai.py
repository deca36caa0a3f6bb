"""OpenAI-compatible chat and text completions, streamed as server-sent events.

``POST /v1/chat/completions``, or ``/v1/completions`` for a request that has a ``prompt``, or the endpoint's own path.
The only input is the request, a JSON object as a tensor of bytes that blanks may follow, since requests of one pool
differ in length. Whatever it says, the endpoint's model is asked, for a stream and the server's count of its tokens.
See the OpenAI API reference, "Chat completion chunk object" and ``stream_options.include_usage``.
"""

import json

import numpy as np

from loadgen.protocols.answers import write_json
from loadgen.protocols.base import Tensors
from loadgen.protocols.openai_chunks import Chunks, read_chunk
from loadgen.protocols.post import JSON, post
from loadgen.protocols.posted import Posted
from loadgen.wire.sse import EventStream, events_of
from nightbench.errors import NightbenchError

__all__ = ["OpenAi"]

_HEADERS = {"Content-Type": JSON, "Accept": "text/event-stream"}


class OpenAi(Posted):
    """Implements `loadgen.protocols.base.Codec`; its wire is a `loadgen.wire.base.StreamingWire`."""

    streaming = True

    def prepare(self, inputs: Tensors) -> bytes:
        (given,) = inputs.values()
        try:
            request = json.loads(given.tobytes())
        except (ValueError, RecursionError) as error:
            raise NightbenchError(f"openai: a request is no JSON: {error}") from error
        if not isinstance(request, dict):
            raise NightbenchError("openai: a request is no JSON object")
        if self._endpoint.model:
            request["model"] = self._endpoint.model
        options = request.get("stream_options")
        request["stream"] = True
        request["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
        path = "/v1/completions" if "prompt" in request else "/v1/chat/completions"
        return post(self._endpoint, path, _HEADERS, write_json(request))

    def decode(self, body: bytes) -> Tensors:
        """All output of the answer as UTF-8: ``text``, a tensor of bytes of shape (1, n)."""
        texts: list[str] = []
        for event in events_of(body):
            if event.data == b"[DONE]":
                break
            texts += read_chunk(event.data).texts if event.data else ()
        # A server may split what it escapes, a character beyond the basic plane, over two events.
        joined = "".join(texts).encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
        return {"text": np.frombuffer(joined, np.uint8)[np.newaxis]}

    def wire(self) -> EventStream:
        return EventStream(Chunks())
