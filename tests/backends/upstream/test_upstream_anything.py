"""Whatever an upstream sends in whatever place, what goes out keeps the contract or is an honest error."""

import copy
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from stand_in import CALL, HEAD, USAGE, chunk, good, plain

from specserve.backends.http.sse import Events
from specserve.backends.upstream import answer
from specserve.backends.upstream.exchange import Exchange, RecentIds, check
from specserve.backends.upstream.refusals import from_response
from specserve.backends.upstream.repairs import RepairLog
from specserve.backends.upstream.stream import ChatStream, TextStream
from specserve.spec.errors import APIError

LEAVES = st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats(allow_nan=False) | st.text(max_size=5)
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
ENTRY = {
    "token": "x",
    "logprob": -1.0,
    "bytes": [120],
    "top_logprobs": [{"token": "y", "logprob": -2.0, "bytes": [121]}],
}
TOOL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
MESSAGE = {
    "role": "assistant",
    "content": "hi",
    "refusal": None,
    "tool_calls": [TOOL],
    "reasoning": "so",
    "audio": None,
}
RICH_USAGE = {**USAGE, "prompt_tokens_details": {"cached_tokens": 1}, "completion_tokens_details": None}
CHAT = plain(MESSAGE, "tool_calls", usage=RICH_USAGE, timings={"prompt_n": 1, "predicted_n": 2}, service_tier=None)
CHAT["choices"][0]["logprobs"] = {"content": [ENTRY], "refusal": None}
TEXT = {**HEAD, "object": "text_completion", "usage": USAGE}
TEXT["choices"] = [{"index": 0, "text": "x", "logprobs": {"content": [ENTRY]}, "finish_reason": "stop"}]
VECTORS = {"object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}]}
VECTORS["usage"] = {"prompt_tokens": 1, "total_tokens": 1}
CHUNKS = [*good("a")[:2], chunk({"tool_calls": [TOOL], "reasoning": "b"}), *good("c")[2:]]
CHUNKS[1]["choices"][0]["logprobs"] = {"content": [ENTRY], "refusal": None}
CHUNKS[3]["choices"][0]["logprobs"] = {"tokens": ["x"], "token_logprobs": [-1.0], "top_logprobs": [{"y": -2.0}]}
CHUNKS[2]["usage"] = RICH_USAGE
TEXT_CHUNKS = [{**TEXT, "choices": [{**TEXT["choices"][0], "finish_reason": None}]}, TEXT]
ERROR = {"error": {"message": "No.", "type": "server_error", "param": "n", "code": 400}, "detail": [{"loc": ["body"]}]}


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


@st.composite
def spoiled(draw, value):
    """A copy with one or two places that hold anything, or nothing."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from(list(places(value))))
        if not path:
            return draw(ANYTHING)
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        if draw(st.booleans()):
            holder[path[-1]] = draw(ANYTHING)
        else:
            del holder[path[-1]]
    return value


def exchange(**more):
    return Exchange(CALL, "ours", 1, include_usage=True, repairs=RepairLog("ours"), ids=RecentIds(), **more)


def is_kept(component, work):
    try:
        data = work()
    except APIError as error:
        assert 400 <= error.status < 600
        assert len(error.to_json()) < 2048
        return
    check(component, json.loads(data))


@settings(max_examples=250, deadline=None)
@given(spoiled(CHAT))
def test_plain_chats(value):
    is_kept("CreateChatCompletionResponse", lambda: answer.chat(json.dumps(value).encode(), exchange()).data)


@settings(max_examples=120, deadline=None)
@given(spoiled(TEXT))
def test_plain_completions(value):
    is_kept("CreateCompletionResponse", lambda: answer.completion(json.dumps(value).encode(), exchange()).data)


@settings(max_examples=120, deadline=None)
@given(spoiled(VECTORS), st.sampled_from(["float", "base64"]))
def test_embeddings(value, kind):
    data = json.dumps(value).encode()
    is_kept("CreateEmbeddingResponse", lambda: answer.embedding(data, exchange(), encoding_format=kind).data)


def read(stream, chunks):
    sent = [stream.take(json.dumps(one).encode()) for one in chunks]
    sent += stream.end(done=True)
    return [data for data in sent if data is not None]


@settings(max_examples=250, deadline=None)
@given(spoiled(CHUNKS).filter(lambda value: isinstance(value, list)))
def test_chunks_of_chats(value):
    is_kept_in_each(ChatStream, value)


@settings(max_examples=120, deadline=None)
@given(spoiled(TEXT_CHUNKS).filter(lambda value: isinstance(value, list)))
def test_chunks_of_completions(value):
    is_kept_in_each(TextStream, value)


def is_kept_in_each(kind, chunks):
    try:
        sent = read(kind(exchange()), chunks)
    except APIError as error:
        assert len(error.to_json()) < 2048
        return
    for data in sent:
        check(kind.component, json.loads(data))
    assert json.loads(sent[-1])["usage"]["total_tokens"] >= 0


@settings(max_examples=120, deadline=None)
@given(st.integers(300, 599), spoiled(ERROR), st.dictionaries(st.just("Retry-After"), st.text(max_size=12)))
def test_errors(status, value, headers):
    error = from_response(status, headers, json.dumps(value).encode(), exchange())
    assert 400 <= error.status < 600
    assert error.status not in {401, 403}
    body = json.loads(error.to_json())["error"]
    assert set(body) == {"message", "type", "param", "code"}
    assert body["message"]
    assert all(body[name] is None or isinstance(body[name], str) for name in body)
    assert len(error.to_json()) < 4096


@settings(max_examples=120, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [b"data: ", b"data:", b": ping", b"event: x", b"\n", b"\r\n", b"\r", b"{}", b"[DONE]", b"\xef\xbb\xbf"]
        )
    ),
    st.integers(1, 5),
)
def test_event_streams_however_they_are_cut(parts, size):
    data = b"".join(parts)
    at_once, in_pieces = Events(1000), Events(1000)
    whole = [*at_once.feed(data), *at_once.close()]
    pieces = [one for at in range(0, len(data), size) for one in in_pieces.feed(data[at : at + size])]
    assert [*pieces, *in_pieces.close()] == whole
