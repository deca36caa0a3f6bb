"""A streamed chat completion as servers send it: server-sent events, each a chunk of HTTP/1.1 and a write of its own.

The shape is that of OpenAI's "chat completion chunk" object with ``stream_options.include_usage``.
"""

import json
from typing import Any

__all__ = ["chat_pieces"]

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_WORD = " token"


def chat_pieces(tokens: int) -> tuple[bytes, ...]:
    """``tokens`` events with one token each, between the one that names the role and those that end the answer."""
    opening = _HEAD + _chunk(_event(_choice({"role": "assistant", "content": ""})))
    token = _chunk(_event(_choice({"content": _WORD})))
    usage = {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1}
    closing = (
        _chunk(_event(_choice({}, "length")))
        + _chunk(_event({"choices": [], "usage": usage}))
        + _chunk(b"data: [DONE]\n\n")
        + _LAST_CHUNK
    )
    return (opening, *(tokens * (token,)), closing)


def _choice(delta: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]}


def _event(said: dict[str, Any]) -> bytes:
    common = {"id": "chatcmpl-null", "object": "chat.completion.chunk", "created": 0, "model": "null"}
    return f"data: {json.dumps({**common, **said}, separators=(',', ':'))}\n\n".encode()


def _chunk(content: bytes) -> bytes:
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"
