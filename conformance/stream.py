"""A state machine over the chunks of a stream: what one chunk alone cannot tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from specserve.conformance.evidence import MISSING, Finding, dig, items


@dataclass
class Call:
    """A call of a function, put together from its parts."""

    id: str = ""
    type: str = ""
    name: str = ""
    arguments: str = ""


@dataclass
class Choice:
    """What a stream has said of one choice so far."""

    text: str = ""
    role: Any = MISSING
    parts: int = 0
    finish_reason: str | None = None
    calls: dict[int, Call] = field(default_factory=dict)
    logprobs: int = 0


class StreamChecker:
    """Feed it the JSON of each event of a chat stream; it collects findings by rule.

    Args:
        n: How many choices were asked for.
        usage: Whether the usage was asked for.
    """

    def __init__(self, *, n: int = 1, usage: bool = False) -> None:
        self._n = n
        self._usage = usage
        self._constant: dict[str, Any] = {}
        self._count = 0
        self._usage_at: list[int] = []
        self._without_usage_key = 0
        self._usage_beside: Any = None
        self.choices: dict[int, Choice] = {}
        self.usage: Any = MISSING
        self.failed = False
        self.findings: dict[str, list[Finding]] = {}

    def feed(self, payload: Any) -> None:
        """Take the next chunk."""
        if not isinstance(payload, Mapping):
            return  # the schema tells it
        if "error" in payload:
            self.failed = True
            return
        self._count += 1
        self._check_constants(payload)
        self._check_usage(payload)
        for choice in items(payload.get("choices")):
            index = dig(choice, "index")
            if isinstance(index, int) and isinstance(choice, Mapping):
                self._take(index, choice)

    def close(self) -> None:
        """Take the end of the stream."""
        for index, choice in sorted(self.choices.items()):
            if choice.finish_reason is None and not self.failed:
                self._find("finish-present", "a finish_reason for each choice", f"none for choice {index}")
        if self._usage and not self.failed:
            if len(self._usage_at) != 1:
                self._find("usage-chunk", "one chunk with a usage", f"{len(self._usage_at)} of {self._count} chunks")
            elif self._usage_at[0] != self._count:
                self._find(
                    "usage-last", "the usage in the last chunk", f"in chunk {self._usage_at[0]} of {self._count}"
                )
            elif self._usage_beside:
                self._find("usage-no-choices", "choices: [] beside the usage", self._usage_beside)
            if self._without_usage_key:
                self._find("usage-null", "usage: null in the other chunks", f"missing in {self._without_usage_key}")

    def _find(self, rule: str, expected: str, actual: Any) -> None:
        found = self.findings.setdefault(rule, [])
        if len(found) < 3:  # the same fault in each of a thousand chunks is one fault
            found.append(Finding(expected, actual))

    def _check_constants(self, payload: Mapping[str, Any]) -> None:
        for name in ("id", "created", "model"):
            value = payload.get(name, MISSING)
            if value is MISSING:
                continue
            first = self._constant.setdefault(name, value)
            if value != first:
                self._find(f"{name}-constant", f"{name} {first!r} in every chunk", value)

    def _check_usage(self, payload: Mapping[str, Any]) -> None:
        if payload.get("usage") is not None:
            self.usage = payload["usage"]
            self._usage_at.append(self._count)
            if not self._usage:
                self._find("usage-unasked", "no usage, since it was not asked for", payload["usage"])
            elif payload.get("choices"):
                self._usage_beside = payload["choices"]
        elif "usage" not in payload:
            self._without_usage_key += 1

    def _take(self, index: int, part: Mapping[str, Any]) -> None:
        if not 0 <= index < self._n:
            self._find("index", f"an index below {self._n}", index)
        choice = self.choices.setdefault(index, Choice())
        delta = part.get("delta")
        delta = delta if isinstance(delta, Mapping) else {}
        says = bool(delta.get("content") or delta.get("tool_calls"))
        if choice.finish_reason is not None and says:
            self._find("finish-last", "nothing after the finish_reason", dict(delta))
        self._take_role(index, choice, delta)
        choice.parts += 1
        if isinstance(delta.get("content"), str):
            choice.text += delta["content"]
        if "tool_calls" in delta and not delta["tool_calls"]:
            self._find("tool-calls-absent", "no key tool_calls where nothing is called", delta["tool_calls"])
        for call in items(delta.get("tool_calls")):
            self._take_call(choice, call)
        choice.logprobs += len(items(dig(part, "logprobs", "content")))
        reason = part.get("finish_reason")
        if isinstance(reason, str):
            if choice.finish_reason is not None:
                self._find("finish-once", "one finish_reason for each choice", [choice.finish_reason, reason])
            choice.finish_reason = reason

    def _take_role(self, index: int, choice: Choice, delta: Mapping[str, Any]) -> None:
        role = delta.get("role", MISSING)
        if choice.parts == 0:
            choice.role = role
            if index < self._n and role != "assistant":
                self._find("role-first", 'the role "assistant" in the first delta', role)
        elif isinstance(role, str):
            self._find("role-once", "the role in the first delta only", dict(delta))

    def _take_call(self, choice: Choice, part: Any) -> None:
        index = dig(part, "index")
        if not isinstance(index, int):
            return  # the schema tells it
        new = index not in choice.calls
        if new and index != len(choice.calls):
            self._find("call-index", f"the next call to have the index {len(choice.calls)}", index)
        call = choice.calls.setdefault(index, Call())
        name, identifier = dig(part, "function", "name"), dig(part, "id")
        if new:
            kind = dig(part, "type")
            if not (_text(identifier) and _text(name) and kind == "function"):
                self._find("call-head", "id, type and name in the first part of a call", part)
            call.id, call.type, call.name = _or_empty(identifier), _or_empty(kind), _or_empty(name)
        else:
            if _text(identifier) and identifier != call.id:
                self._find("call-head-once", f"no other id than {call.id!r}", identifier)
            if isinstance(name, str):
                self._find("call-name-once", "the name in the first part only", name)
        arguments = dig(part, "function", "arguments")
        if isinstance(arguments, str):
            call.arguments += arguments


def check(payloads: list[Any], *, n: int = 1, usage: bool = False) -> StreamChecker:
    """Run the state machine over a whole stream."""
    checker = StreamChecker(n=n, usage=usage)
    for payload in payloads:
        if payload is not MISSING:
            checker.feed(payload)
    checker.close()
    return checker


def texts(checker: StreamChecker) -> Iterator[tuple[int, str]]:
    """The text of each choice."""
    for index, choice in sorted(checker.choices.items()):
        yield index, choice.text


def _text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _or_empty(value: Any) -> str:
    return value if isinstance(value, str) else ""
