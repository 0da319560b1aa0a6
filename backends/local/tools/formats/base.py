"""What a format of tool calls is, and the reader of all those that write arguments as JSON."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from specserve.backends.local.grammars.grammar import Node, Repeat, choice, row

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

MOST_CALLS = 8
"""In one forced answer: a small model that may go on does."""

_IDLE = " \n\r\t;"
_LONGEST_MARKUP = 300
"""Characters between two parts of a call. What takes longer is none."""


class Event(NamedTuple):
    """What a piece of an answer turned out to be: text beside calls, the name of a call, or more of its arguments."""

    kind: Literal["text", "call", "arguments"]
    text: str


class Reader(ABC):
    """Tells calls from text as it comes. Where the pieces were cut makes no difference to what they add up to."""

    @abstractmethod
    def push(self, text: str) -> list[Event]:
        """Take the next piece."""

    @abstractmethod
    def flush(self) -> list[Event]:
        """End the answer."""


@dataclass(frozen=True)
class ToolFormat:
    """A format: literal texts that write calls, and expressions that read them with some tolerance.

    Attributes:
        template: Texts that all occur in the chat templates of models that write it.
        template_not: A text that does not.
        opening: Begins the calls, once.
        before: Begins each call; its name follows.
        middle: Stands between the name and the arguments, a JSON object.
        after: Ends each call.
        between: Stands between two calls.
        closing: Ends the calls, once.
        begins: A text after which a call is looked for.
        head: What follows `begins`, up to the arguments; the group ``name`` is the function's.
        tail: What follows the arguments; with the group ``more`` another call must follow.
        at_start: Whether calls stand at the beginning of the answer only, or after other calls.
        triggers: Whether nothing but a call can follow `begins`, so that an engine may insist on it.
        ends_call: A text that ends a call and nothing else, or empty.
        marks: Control tokens of the format.
        short_ids: Whether the template insists on ids of nine letters and digits.
        taught: Whether models learned it, so that they know after a call whether another must follow.
    """

    template: tuple[str, ...]
    opening: str
    before: str
    middle: str
    after: str
    between: str
    closing: str
    begins: str
    head: str
    tail: str
    template_not: str = ""
    at_start: bool = False
    triggers: bool = True
    ends_call: str = ""
    marks: tuple[str, ...] = ()
    short_ids: bool = False
    taught: bool = True

    def speaks(self, template: str) -> bool:
        """Whether a model with this chat template writes this format."""
        return all(text in template for text in self.template) and not (
            self.template_not and self.template_not in template
        )

    def calls(self, arguments: Mapping[str, Node], *, several: bool) -> Node:
        """The grammar of calls.

        Args:
            arguments: By name of the function, the grammar of its arguments.
            several: Whether there may be more than one call.
        """
        call = choice([row(self.before, name, self.middle, node, self.after) for name, node in arguments.items()])
        more: Node = Repeat(row(self.between, call), 0, MOST_CALLS - 1) if several else ""
        return row(self.opening, call, more, self.closing)

    def reader(self, names: Collection[str]) -> Reader:
        """A reader of one answer, where these functions may be called."""
        return JSONReader(self, names)

    @property
    def forced(self) -> ToolFormat:
        """The format of calls that a grammar forces."""
        return self


class JSONReader(Reader):
    """Reads any `ToolFormat`. What only looks like a call, or calls what is not offered, stays text."""

    def __init__(self, form: ToolFormat, names: Collection[str]) -> None:
        self._form = form
        self._names = names
        self._head, self._tail = re.compile(form.head), re.compile(form.tail)
        self._state: Literal["text", "head", "arguments", "tail"] = "text"
        self._held = ""
        self._fresh = True  # nothing but calls so far
        self._gap = ""  # white space that goes with a call, if it is one
        self._scanner = _Object()

    def push(self, text: str) -> list[Event]:
        """Take the next piece."""
        self._held += text
        events: list[Event] = []
        while self._step(events, ended=False):
            pass
        return events

    def flush(self) -> list[Event]:
        """End the answer: markup that was cut off is dropped, anything else was text."""
        events: list[Event] = []
        while self._step(events, ended=True):
            pass
        if self._state == "text":
            self._say(self._held, events)
        self._held = ""
        return events

    def _step(self, events: list[Event], *, ended: bool) -> bool:
        """Read on; whether there may be more to read."""
        if self._state == "text":
            return self._look_for_call(events)
        if self._state == "arguments":
            size = self._scanner.push(self._held)
            if size:
                events.append(Event("arguments", self._held[:size]))
            self._held = self._held[size:]
            if self._scanner.done:
                self._state = "tail"
            return self._scanner.done
        expected = self._head if self._state == "head" else self._tail
        found = expected.match(self._held[:_LONGEST_MARKUP])
        if found is None:
            if len(self._held) < _LONGEST_MARKUP and not ended:
                return False
            self._no_call(events, ended=ended)
            return bool(self._held)
        if self._state == "head":
            if found["name"] not in self._names:
                self._no_call(events, ended=ended)
                return True
            events.append(Event("call", found["name"]))
            self._state, self._scanner = "arguments", _Object()
        else:
            more = "more" in found.groupdict() and found["more"] is not None
            self._state, self._fresh = ("head" if more else "text"), True
        self._held = self._held[found.end() :]
        return True

    def _no_call(self, events: list[Event], *, ended: bool) -> None:
        """It only looked like one: its beginning was text. What follows a whole call is markup, or text again."""
        if self._state == "head":
            events.append(Event("text", self._gap + self._form.begins))
            self._fresh = False
        elif ended and _dense(self._form.after + self._form.closing).startswith(_dense(self._held)):
            self._held = ""
        self._state = "text"

    def _look_for_call(self, events: list[Event]) -> bool:
        begins = self._form.begins
        if self._form.at_start and not self._fresh:
            self._say(self._held, events)
            self._held = ""
            return False
        if self._fresh:
            rest = self._held.lstrip(_IDLE)
            for mark in self._form.marks if self._form.at_start else ():
                if mark.startswith(rest) and mark != rest:
                    return False
                rest = rest.removeprefix(mark).lstrip(_IDLE)
            if rest.startswith(begins):
                self._gap = self._held[: -len(rest)]
                self._held, self._state = rest[len(begins) :], "head"
                return True
            if begins.startswith(rest):
                return False
            if self._form.at_start:
                self._say(self._held, events)
                self._held = ""
                return False
        before, mark, after = self._held.partition(begins)
        if mark:
            said = before.rstrip()
            self._say(said, events)
            self._gap, self._held, self._state = before[len(said) :], after, "head"
            return True
        # Held back: what may become the mark, and the white space before it.
        safe = len(self._held) - _overlap(self._held, begins)
        safe = len(self._held[:safe].rstrip())
        self._say(self._held[:safe], events)
        self._held = self._held[safe:]
        return False

    def _say(self, text: str, events: list[Event]) -> None:
        if not text or (self._fresh and not text.strip(_IDLE)):
            return
        self._fresh = False
        events.append(Event("text", text))


class _Object:
    """Finds the end of a JSON object that comes in pieces."""

    def __init__(self) -> None:
        self.done = False
        self._depth = 0
        self._quoted = self._escaped = False

    def push(self, text: str) -> int:
        """How many characters of `text` belong to the object."""
        for at, character in enumerate(text):
            if self._quoted:
                if self._escaped:
                    self._escaped = False
                elif character == "\\":
                    self._escaped = True
                elif character == '"':
                    self._quoted = False
            elif character == '"':
                self._quoted = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth == 0:
                    self.done = True
                    return at + 1
        return len(text)


def _dense(text: str) -> str:
    return "".join(text.split())


def _overlap(text: str, mark: str) -> int:
    """Length of the longest end of `text` that is a beginning of `mark`."""
    return next((size for size in range(min(len(text), len(mark) - 1), 0, -1) if text.endswith(mark[:size])), 0)


def named_object(keys: Sequence[str]) -> str:
    """The expression for ``{"name": ..., "arguments":`` with one of these words for the arguments."""
    return rf'\{{\s*"name"\s*:\s*"(?P<name>[^"\\]{{1,64}})"\s*,\s*"(?:{"|".join(keys)})"\s*:\s*(?=\{{)'
