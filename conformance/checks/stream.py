"""Chat answers as event streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from specserve.conformance.checks import Needs, check, check_together
from specserve.conformance.checks.chat import contains_stop, usage_sum
from specserve.conformance.evidence import MISSING, Answer, Finding, dig, shown
from specserve.conformance.stream import StreamChecker
from specserve.conformance.stream import check as check_stream

# The rules of the state machine that are a requirement by the same name.
_RULES = (
    "id-constant",
    "created-constant",
    "model-constant",
    "role-first",
    "role-once",
    "index",
    "finish-present",
    "finish-once",
    "finish-last",
    "tool-calls-absent",
    "usage-chunk",
    "usage-last",
    "usage-no-choices",
    "usage-null",
    "usage-unasked",
)


def summary(answer: Answer) -> StreamChecker:
    """The state machine after the answer's last chunk."""
    if "stream" not in answer.notes:
        body = answer.sent.json
        n = dig(body, "n")
        usage = dig(body, "stream_options", "include_usage") is True
        data = [timed.event.data.strip() for timed in answer.events]
        end = data.index("[DONE]") if "[DONE]" in data else len(data)  # what follows is another rule's matter
        answer.notes["stream"] = check_stream(answer.payloads[:end], n=n if isinstance(n, int) else 1, usage=usage)
    checker: StreamChecker = answer.notes["stream"]
    return checker


def _register(rule: str) -> None:
    @check(f"chat.stream.{rule}")
    def follow(answer: Answer) -> Iterator[Finding]:
        yield from summary(answer).findings.get(rule, ())


for _rule in _RULES:
    _register(_rule)


@check("chat.stream.media-type", needs=Needs.COMPLETE)
def media_type(answer: Answer) -> Iterator[Finding]:
    """Clients and proxies go by it."""
    if answer.status == 200 and answer.sent.stream and not answer.is_stream:
        yield Finding("Content-Type: text/event-stream", answer.header("content-type") or "no Content-Type")


@check("chat.stream.utf8")
def utf8(answer: Answer) -> Iterator[Finding]:
    """Event streams know no other encoding."""
    if answer.invalid_utf8:
        yield Finding("UTF-8", "bytes that are not")


@check("chat.stream.json")
def json_data(answer: Answer) -> Iterator[Finding]:
    """Each event can be read by itself."""
    data = [timed.event.data for timed in answer.events if timed.event.data.strip() != "[DONE]"]
    for text, payload in zip(data, answer.payloads, strict=True):
        if payload is MISSING:
            yield Finding("JSON as data", text)
            return


def done_sentinel(answer: Answer) -> Iterator[Finding]:
    """Without it, a client cannot tell an end from a cut."""
    if answer.abandoned or any(_is_error(payload) for payload in answer.payloads):
        return
    if not any(timed.event.data.strip() == "[DONE]" for timed in answer.events):
        last = answer.events[-1].event.data if answer.events else "no event"
        cut = " (it was begun, but no blank line ended it)" if answer.unfinished_event else ""
        yield Finding("data: [DONE] as the last event", last + cut)


check("chat.stream.done-sentinel")(done_sentinel)


def _is_error(payload: object) -> bool:
    return isinstance(payload, Mapping) and "error" in payload


@check("chat.stream.no-failure")
def no_failure(answer: Answer) -> Iterator[Finding]:
    """With status 200 gone out, an event is all that can tell it."""
    for payload in answer.payloads:
        if _is_error(payload):
            yield Finding("a stream without an error", shown(payload))
            return


@check("chat.stream.failure-last")
def failure_last(answer: Answer) -> Iterator[Finding]:
    """What comes after it would be taken for the rest of a whole answer."""
    failures = [position for position, payload in enumerate(answer.payloads) if _is_error(payload)]
    if failures and failures[0] != len(answer.payloads) - 1:
        yield Finding("the end of the stream after the error", shown(answer.payloads[failures[0] + 1]))


@check("chat.stream.failure-not-done")
def failure_not_done(answer: Answer) -> Iterator[Finding]:
    """A client that reads no errors would take a part for the whole."""
    if any(map(_is_error, answer.payloads)) and any(timed.event.data.strip() == "[DONE]" for timed in answer.events):
        yield Finding("no [DONE] after the error", "[DONE]")


@check("chat.stream.done-exact")
def done_exact(answer: Answer) -> Iterator[Finding]:
    """Some clients compare the bytes."""
    for timed in answer.events:
        if timed.event.data.strip() == "[DONE]" and timed.event.data != "[DONE]":
            yield Finding("[DONE]", repr(timed.event.data))
            return


@check("chat.stream.done-last")
def done_last(answer: Answer) -> Iterator[Finding]:
    """The end is the end."""
    data = [timed.event.data for timed in answer.events]
    ends = [position for position, text in enumerate(data) if text.strip() == "[DONE]"]
    if ends and ends[0] != len(data) - 1:
        yield Finding("nothing after [DONE]", data[ends[0] + 1])


@check("chat.stream.content")
def content(answer: Answer) -> Iterator[Finding]:
    """A text was asked for."""
    checker = summary(answer)
    if not checker.failed and not answer.abandoned and not any(choice.text for choice in checker.choices.values()):
        yield Finding("a text in the deltas", "none")


@check("chat.stream.usage-sum")
def usage_adds_up(answer: Answer) -> Iterator[Finding]:
    """The counts add up."""
    yield from usage_sum(summary(answer).usage)


@check_together("chat.stream.usage-same")
def usage_same(answers: Mapping[str, Answer]) -> Iterator[Finding]:
    """The same prompt has the same tokens."""
    plain = answers["chat.plain"].get("usage", "prompt_tokens")
    streamed = dig(summary(answers["stream.plain"]).usage, "prompt_tokens")
    once = "usage-chunk" not in summary(answers["stream.plain"]).findings
    if once and isinstance(plain, int) and isinstance(streamed, int) and plain != streamed:
        yield Finding(f"prompt_tokens {plain}", streamed)


@check_together("chat.stream.same-text")
def same_text(answers: Mapping[str, Answer]) -> Iterator[Finding]:
    """Same question, same seed, temperature 0."""
    plain, streamed = answers["chat.plain"].text, answers["stream.plain"].streamed_text
    if plain != streamed:
        yield Finding(f"the text {plain!r}", streamed)


@check("chat.stream.incremental")
def incremental(answer: Answer) -> Iterator[Finding]:
    """A text of many tokens in one piece was held back until it was complete."""
    texts = [dig(payload, "choices", 0, "delta", "content") for payload in answer.payloads]
    pieces = sum(isinstance(text, str) and text != "" for text in texts)
    if pieces == 1 and len(answer.streamed_text.split()) > 3:
        yield Finding("several deltas with text", "one")


@check("chat.stream.limit")
def limit(answer: Answer) -> Iterator[Finding]:
    """Nobody counts to twenty in two tokens."""
    choice = summary(answer).choices.get(0)
    if choice and choice.finish_reason in {"stop", "tool_calls", "content_filter"} and len(choice.text) <= 20:
        yield Finding('finish_reason "length"', choice.finish_reason)


@check("chat.stream.n")
def n(answer: Answer) -> Iterator[Finding]:
    """Two were asked for."""
    found = sorted(summary(answer).choices)
    if len(found) < 2:
        yield Finding("2 choices", found, silent=True)


@check("chat.stream.stop")
def stop(answer: Answer) -> Iterator[Finding]:
    """Also where it straddles chunks."""
    yield from contains_stop(answer, answer.streamed_text)


@check_together("chat.stream.disconnect", needs=Needs.ANY)
def disconnect(answers: Mapping[str, Answer]) -> Iterator[Finding]:
    """The next request is answered."""
    if answers["stream.abandoned"].abandoned and answers["models.afterwards"].status == 0:
        yield Finding("the next request answered", answers["models.afterwards"].detail or "it was not")
