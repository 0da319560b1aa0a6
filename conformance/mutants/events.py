"""What a mutant can do to the events of a stream. Each change takes the data of all events and gives new ones."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

DONE = "[DONE]"
Events = list[Any]


def _chunks(events: Events) -> list[dict[str, Any]]:
    return [event for event in events if isinstance(event, dict) and event.get("choices")]


def _position(events: Events, chunk: dict[str, Any]) -> int:
    return next(position for position, event in enumerate(events) if event is chunk)


def _finish(events: Events) -> int:
    """Where the last finish_reason stands."""
    ends = [chunk for chunk in _chunks(events) if any(choice["finish_reason"] for choice in chunk["choices"])]
    return _position(events, ends[-1])


def _usage(events: Events) -> int:
    return next(p for p, event in enumerate(events) if isinstance(event, dict) and event.get("usage"))


def _delta(event: dict[str, Any]) -> dict[str, Any]:
    """The delta of the first choice; completions have the text beside the index."""
    choice: dict[str, Any] = event["choices"][0]
    delta: dict[str, Any] = choice.get("delta", choice)
    return delta


def _text(event: dict[str, Any]) -> str:
    delta = _delta(event)
    return str(delta.get("content") or delta.get("text") or "")


def _with_text(events: Events) -> list[dict[str, Any]]:
    return [chunk for chunk in _chunks(events) if _text(chunk)]


def _like(event: dict[str, Any], delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    new = copy.deepcopy(event)
    new["choices"] = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]
    return new


def append_text(events: Events, text: str) -> Events:
    """Add a text before the end of the first choice."""
    at = next(_position(events, c) for c in _chunks(events) if c["choices"][0]["finish_reason"])
    return [*events[:at], _like(_chunks(events)[0], {"content": text}), *events[at:]]


def _broken_json(events: Events) -> Events:
    return [*events[:2], '{"id": "chat', *events[2:]]


def _finish_key_missing(events: Events) -> Events:
    for chunk in _chunks(events):
        for choice in chunk["choices"]:
            if choice["finish_reason"] is None:
                del choice["finish_reason"]
    return events


def _index_counts(events: Events) -> Events:
    for number, chunk in enumerate(_with_text(events)):
        if number == 1:
            extra = copy.deepcopy(chunk)
            extra["choices"][0]["index"] = 1
            extra["choices"][0]["finish_reason"] = "stop"
            return [*events[:-1], extra, events[-1]]
    return events


def _finish_twice(events: Events) -> Events:
    at = _finish(events)
    return [*events[: at + 1], copy.deepcopy(events[at]), *events[at + 1 :]]


def _text_after_finish(events: Events) -> Events:
    at = _finish(events)
    return [*events[: at + 1], _like(events[at], {"content": " and"}), *events[at + 1 :]]


def _usage_missing(events: Events) -> Events:
    at = _usage(events)
    return events[:at] + events[at + 1 :]


def _usage_first(events: Events) -> Events:
    at = _usage(events)
    return [events[0], events[at], *events[1:at], *events[at + 1 :]]


def _usage_with_choice(events: Events) -> Events:
    events[_usage(events)]["choices"] = [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": None}]
    return events


def _usage_null_missing(events: Events) -> Events:
    for event in events:
        if isinstance(event, dict) and event.get("usage") is None:
            event.pop("usage", None)
    return events


def _usage_add(name: str, *others: str) -> Callable[[Events], Events]:
    def changed(events: Events) -> Events:
        usage = events[_usage(events)]["usage"]
        for key in (name, *others):
            usage[key] += 1
        return events

    return changed


def _usage_unasked(events: Events) -> Events:
    usage = {
        **copy.deepcopy(events[0]),
        "choices": [],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
    return [*events[:-1], usage, events[-1]]


def _usage_last_only(events: Events) -> Events:
    for chunk in _chunks(events):
        chunk["usage"] = None
    return events


def _usage_falls(events: Events) -> Events:
    """The last chunk counts no token of the answer, those before do."""
    usage = events[-2]["usage"]
    usage["total_tokens"] -= usage["completion_tokens"]
    usage["completion_tokens"] = 0
    return events


def _lose_letters(events: Events) -> Events:
    lost = _with_text(events)[1]
    return [event for event in events if event is not lost]


def _one_chunk(events: Events) -> Events:
    texts = _with_text(events)
    whole = "".join(_text(chunk) for chunk in texts)
    _delta(texts[-1])["content"] = whole
    return [event for event in events if not any(event is chunk for chunk in texts[:-1])]


def _finish_stop(events: Events) -> Events:
    for chunk in _chunks(events):
        for choice in chunk["choices"]:
            if choice["finish_reason"]:
                choice["finish_reason"] = "stop"
    return events


def _calls(events: Events) -> list[dict[str, Any]]:
    return [call for chunk in _chunks(events) for call in _delta(chunk).get("tool_calls", ())]


def _call_id_each(events: Events) -> Events:
    for number, call in enumerate(_calls(events)):
        call["id"] = f"call_{number}"
    return events


def _call_name_each(events: Events) -> Events:
    name = _calls(events)[0]["function"]["name"]
    for call in _calls(events):
        call["function"]["name"] = name
    return events


def _lose_arguments(events: Events) -> Events:
    _calls(events)[-1]["function"]["arguments"] = ""
    return events


def _error_event(events: Events) -> Events:
    return [*events[:3], {"error": {"message": "Broken.", "type": "server_error", "param": None, "code": None}}]


def _fails_and_goes_on(events: Events) -> Events:
    return [*_error_event(events), *events[3:]]


def _half(events: Events) -> Events:
    """The first chunks with text, and nothing of the rest."""
    texts = _with_text(events)
    return events[: _position(events, texts[len(texts) // 2])]


def _as_stop(events: Events) -> Events:
    """The text ends early, and the end is as good as ever."""
    return [*_half(events), *events[_finish(events) :]]


CHANGES: dict[str, Callable[[Events], Events]] = {
    "broken-json": _broken_json,
    "empty-data": lambda events: [*events[:2], "", *events[2:]],
    "done-missing": lambda events: [event for event in events if event != DONE],
    "done-with-space": lambda events: [*events[:-1], f"{DONE} "],
    "data-after-done": lambda events: [*events, copy.deepcopy(events[0])],
    "done-twice": lambda events: [*events, DONE],
    "finish-key-missing": _finish_key_missing,
    "index-counts": _index_counts,
    "finish-twice": _finish_twice,
    "text-after-finish": _text_after_finish,
    "usage-missing": _usage_missing,
    "usage-first": _usage_first,
    "usage-with-choice": _usage_with_choice,
    "usage-null-missing": _usage_null_missing,
    "usage-sum-wrong": _usage_add("total_tokens"),
    "usage-prompt-other": _usage_add("prompt_tokens", "total_tokens"),
    "usage-unasked": _usage_unasked,
    "usage-last-only": _usage_last_only,
    "usage-falls": _usage_falls,
    "lose-letters": _lose_letters,
    "one-chunk": _one_chunk,
    "finish-stop": _finish_stop,
    "call-id-each": _call_id_each,
    "call-name-each": _call_name_each,
    "lose-arguments": _lose_arguments,
    "error-event": _error_event,
    "error-event-done": lambda events: [*_error_event(events), DONE],
    "fails-and-goes-on": _fails_and_goes_on,
    "fails-in-silence": lambda events: [*_half(events), DONE],
    "ends-early": _half,
    "ends-as-stop": _as_stop,
}
