"""OpenAI-compatible servers: what is asked of them, and that every token they send is timed."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from loadgen import prompts
from loadgen.dialects import DIALECTS
from loadgen.engine import run
from loadgen.job import Job
from loadgen.payload import Payload, opaque_bodies
from loadgen.prompts import asked_tokens, drawn_prompts, given_requests
from loadgen.protocols import codec_for
from loadgen.target import Target
from nightbench.errors import NightbenchError, UsageError
from nightbench.load import ClosedLoop
from nightbench.model import DType, TensorSpec
from nightbench.samples import Marks, Samples
from nightbench.server import Endpoint, Protocol
from nightbench.streaming import stream_figures
from tests.loadgen.openai_server import FINISH, LAST, OpenAiServer, token

BODY = TensorSpec("body", DType.UINT8, (400,))


def sent(request: dict[str, object], path: str = "", model: str = "") -> tuple[str, dict[str, object]]:
    """Path and body of what goes out for a request."""
    codec = codec_for(Endpoint(Protocol.OPENAI, "127.0.0.1", 80, model, path=path), (BODY,), (), 1)
    assert codec.streaming
    padded = np.frombuffer(json.dumps(request).encode().ljust(400), np.uint8)[np.newaxis]
    head, _, body = codec.prepare({"body": padded}).partition(b"\r\n\r\n")
    first, *headers = head.decode().split("\r\n")
    assert f"Content-Length: {len(body)}" in headers
    assert "Content-Type: application/json" in headers
    return first, json.loads(body)


def test_a_request_asks_for_a_stream_and_its_count_whatever_it_said() -> None:
    asked = {"messages": [{"role": "user", "content": "h\u00e9"}], "stream": False, "stream_options": {"x": 1}}
    first, body = sent(asked)
    assert first == "POST /v1/chat/completions HTTP/1.1"
    assert body == {**asked, "stream": True, "stream_options": {"x": 1, "include_usage": True}}


def test_a_prompt_goes_to_completions_unless_the_path_says_otherwise() -> None:
    assert sent({"prompt": "a"})[0] == "POST /v1/completions HTTP/1.1"
    assert sent({"prompt": "a"}, path="/my/own?x=1")[0] == "POST /my/own?x=1 HTTP/1.1"


def test_the_model_that_was_asked_for_is_the_one_that_answers() -> None:
    assert sent({"prompt": "a", "model": "theirs"}, model="mine")[1]["model"] == "mine"
    assert sent({"prompt": "a", "model": "theirs"})[1]["model"] == "theirs"


@pytest.mark.parametrize("body", [b"{", b"[1]", b"\xff", b"[" * 100_000])
def test_a_request_that_is_none_is_named(body: bytes) -> None:
    codec = codec_for(Endpoint(Protocol.OPENAI, "127.0.0.1", 80), (BODY,), (), 1)
    with pytest.raises(NightbenchError, match="openai: a request is no JSON"):
        codec.prepare({"body": np.frombuffer(body, np.uint8)[np.newaxis]})


def test_the_text_of_an_answer_is_what_its_events_say_together() -> None:
    codec = codec_for(Endpoint(Protocol.OPENAI, "127.0.0.1", 80), (BODY,), (), 1)
    halves = [b'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}', b'data: {"choices":[{"text":"\\ude00."}]}']
    body = b"\n\n".join([b": hello", *halves, b"data: [DONE]", b"data: late", b""])
    (text,) = codec.decode(body)["text"]
    assert text.tobytes().decode() == "\U0001f600."
    assert codec.decode(b"")["text"].shape == (1, 0)
    with pytest.raises(ValueError, match="no JSON"):
        codec.decode(b"data: {\n\n")


def bodies(payload: Payload) -> list[dict[str, object]]:
    return [json.loads(body.tobytes()) for body in payload.arrays["body"]]


@pytest.mark.parametrize("chat", [True, False])
def test_drawn_prompts_are_distinct_seeded_and_of_the_lengths_asked_for(chat: bool) -> None:
    drawn = bodies(drawn_prompts("llama", 32, 5, seed=3, distinct=200, chat=chat))
    words = [body["messages"][0]["content"] if chat else body["prompt"] for body in drawn]  # type: ignore[index]
    assert {len(prompt.split(" ")) for prompt in words} == {32}
    # Prefix caches compare the first 16 tokens at once.
    assert len({" ".join(prompt.split(" ")[:8]) for prompt in words}) == len(drawn) == 200
    assert {(body["model"], body["max_tokens"], body["ignore_eos"], body["temperature"]) for body in drawn} == {
        ("llama", 5, True, 0)
    }
    assert bodies(drawn_prompts("llama", 32, 5, seed=3, distinct=200, chat=chat)) == drawn
    assert bodies(drawn_prompts("llama", 32, 5, seed=4, distinct=200, chat=chat)) != drawn


def test_long_prompts_are_fewer_rather_than_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "LIMIT_BYTES", 100_000)
    assert 1 < len(drawn_prompts("m", 1000, 1, seed=0, distinct=10_000).arrays["body"]) < 20


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": ""}, "--model: "),
        ({"prompt_tokens": 0}, "--prompt-tokens: 0 is wrong"),
        ({"output_tokens": -1}, "--output-tokens: -1 is wrong"),
        ({"output_tokens": 10**9}, "--output-tokens: 1000000000 is wrong"),
        ({"distinct": 0}, "--distinct: 0 is wrong"),
    ],
)
def test_prompts_that_cannot_be_drawn_are_refused(change: dict[str, object], words: str) -> None:
    asked: dict[str, object] = {"model": "m", "prompt_tokens": 4, "output_tokens": 4, "seed": 0, **change}
    with pytest.raises(UsageError, match=words):
        drawn_prompts(**asked)  # type: ignore[arg-type]  # the test names the arguments


def test_the_requests_of_a_file_take_turns(tmp_path: Path) -> None:
    one, two = {"prompt": "a"}, {"messages": [{"role": "user", "content": "longer"}], "max_tokens": 3}
    many = tmp_path / "requests.jsonl"
    many.write_text(json.dumps(one) + "\n\n" + json.dumps(two) + "\n")
    assert bodies(given_requests(many)) == [one, two]
    single = tmp_path / "request.json"
    single.write_text(json.dumps(two, indent=2))
    assert bodies(given_requests(single)) == [two]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no file of 1 to"),
        ('{"prompt": "a"}\n{', "line 2 of .* is no JSON"),
        ('{"model": "m"}', "line 1 of .* asks nothing"),
        ("[1]", "line 1 of .* asks nothing"),
    ],
)
def test_a_file_of_no_requests_is_refused(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text(content)
    with pytest.raises(UsageError, match=words):
        given_requests(path)
    with pytest.raises(UsageError, match=r"--input: .*none\.json"):
        given_requests(tmp_path / "none.json")


@pytest.fixture
def stream(job: Callable[..., Job], tmp_path: Path) -> Callable[..., tuple[Samples, Marks]]:
    """Send drawn prompts to a port, as the sweep would."""

    def send(port: int, payload: Payload, requests: int) -> tuple[Samples, Marks]:
        pool = tmp_path / "prompts.npz"
        payload.save(pool)
        made = job(
            port,
            endpoint=DIALECTS["openai"].endpoint(Target("127.0.0.1", port), None, "m", payload),
            load=ClosedLoop(4),
            inputs=payload.specs,
            outputs=(),
            pool=pool,
            max_requests=requests,
            verify_every=1,
        )
        result = run(made)
        assert (result.outcomes, result.wrong, result.detail) == ({"ok": requests}, 0, "")
        marks = Marks.load(made.samples)
        assert marks is not None
        return Samples.load(made.samples), marks

    return send


@pytest.mark.parametrize("burst", [1, 4])
def test_every_token_is_timed_and_none_before_it_was_sent(
    stream: Callable[..., tuple[Samples, Marks]], burst: int
) -> None:
    with OpenAiServer(burst=burst) as server:
        samples, marks = stream(server.port, drawn_prompts("m", 8, 12, seed=1), 24)
    assert server.paths == {"/v1/chat/completions"}
    assert len({request["messages"][0]["content"] for request in server.requests}) == 24
    assert marks.tokens.tolist() == [12] * 24
    # Which request was which row is known from when it was sent: an answer's tokens lie between sending and end.
    arrivals = {}
    for row in range(24):
        of_row = marks.row == row
        came = np.repeat(marks.at_ns[of_row], marks.parts[of_row])
        assert len(came) == 12
        assert (samples.sent_ns[row] <= came).all()
        assert (came <= samples.done_ns[row]).all()
        arrivals[row] = came
    # The k-th tokens of all answers, each side in order of time: none can have come before it left.
    left = np.sort(np.array(server.sent_ns), axis=0)
    came = np.sort(np.array(list(arrivals.values())), axis=0)
    assert (came >= left).all()
    figures, doubts = stream_figures(samples, marks, int(samples.intended_ns[0]), int(samples.done_ns.max()) + 1, {})
    assert figures.tokens == 24 * 12
    assert figures.tokens_per_s.value > 0
    if burst > 1:
        assert figures.itl_ns["p50"].value == 0.0
        assert any("came together" in doubt.detail for doubt in doubts)


def test_what_goes_wrong_in_a_stream_is_an_outcome(
    serve: Callable[..., object], job: Callable[..., Job], tmp_path: Path
) -> None:
    good = token(1) + FINISH + LAST
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    broken = b"1e\r\nevent: error\ndata: no memory\n\n\r\n0\r\n\r\n"
    whole = b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"choices":[]}'
    busy = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"
    answers = [head + good, head + broken, whole, busy]
    server = serve(lambda number, _body: answers[number % 4])
    payload = drawn_prompts("m", 8, 1, seed=1)
    pool = tmp_path / "prompts.npz"
    payload.save(pool)
    made = job(
        server.port,  # type: ignore[attr-defined]
        endpoint=Endpoint(Protocol.OPENAI, "127.0.0.1", server.port, "m"),  # type: ignore[attr-defined]
        load=ClosedLoop(1),
        inputs=payload.specs,
        outputs=(),
        pool=pool,
        max_requests=8,
    )
    assert run(made).outcomes == {"ok": 2, "rpc_error": 2, "protocol_error": 2, "http_5xx": 2}


@pytest.mark.parametrize(
    ("request_body", "tokens"),
    [(b'{"max_tokens": 7}', 7), (b'{"max_tokens": "7"}', 64), (b"[7]", 64), (b"\x00", 64), (b'{"max_tokens": -1}', 64)],
)
def test_the_length_an_answer_shall_have_is_read_from_its_request(request_body: bytes, tokens: int) -> None:
    assert asked_tokens(opaque_bodies(np.frombuffer(request_body, np.uint8)[np.newaxis])) == tokens
