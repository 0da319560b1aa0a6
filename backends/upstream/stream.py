"""The chunks of a stream, mended one by one: a state machine, since one chunk alone cannot tell what is missing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from specserve.backends.http.reasons import text_of
from specserve.backends.upstream.exchange import check, encode, parse
from specserve.backends.upstream.grown import GrownMessage
from specserve.backends.upstream.mending import Mender, as_object, usage_elsewhere
from specserve.backends.upstream.refusals import from_event, is_failure
from specserve.backends.upstream.template import Template
from specserve.backends.upstream.tool_calls import StreamedCalls
from specserve.spec.errors import UpstreamBreach, UpstreamUnreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from specserve.backends.upstream.exchange import Exchange

_MOST_TEMPLATES = 4
_MOST_LESSONS = 16  # of a stream whose chunks are never alike


@dataclass
class Choice:
    """What a stream has said of one choice so far."""

    finished: bool = False
    characters: int = 0
    calls: StreamedCalls = field(default_factory=StreamedCalls)
    grown: GrownMessage = field(default_factory=GrownMessage)


class Stream(ABC):
    """Takes the payload of each event and gives what goes out in its place.

    Attributes:
        usage: As the upstream has told it so far.
        object: The value of `object` in each chunk.
        component: The schema that each chunk must keep.
    """

    object: str
    component: str

    def __init__(self, exchange: Exchange) -> None:
        self.usage: dict[str, Any] | None = None
        self._exchange = exchange
        self._mender = Mender(exchange)
        self._id: str | None = None
        self._created = 0
        self._given: tuple[Any, Any] = None, None
        self._choices: dict[int, Choice] = {}
        self._usage_alone = False
        self._usage_payload = b""
        self._templates: list[Template] = []
        self._lessons = 0
        self._elsewhere: dict[str, Any] | None = None
        self._last: dict[str, Any] = {}

    @property
    def complete(self) -> bool:
        """Whether every choice has ended."""
        return len(self._choices) == self._exchange.choices and all(c.finished for c in self._choices.values())

    def take(self, payload: bytes, name: str = "message") -> bytes | None:
        """The payload that takes the place of this one, the same object if nothing had to change; None to drop it.

        Args:
            payload: The data of an event.
            name: The name of the event.

        Raises:
            APIError: It tells of a failure, or it cannot be mended.
        """
        if self._templates and not self._exchange.redactor.needs_reading(payload):
            for template in self._templates:
                if (known := template.apply(payload)) is not None:
                    return known
        mender = self._mender
        mender.changed = False
        said = self._parse(payload, name)
        if is_failure(said, name):
            raise from_event(said, self._exchange)
        chunk = as_object(said)
        self._mend_head(chunk)
        self._take_usage(chunk)
        empty = not chunk.get("choices")
        self._mend_choices(chunk)
        if not chunk["choices"]:
            if chunk.get("usage") is not None:
                mender.check(self.component, chunk)
                self._usage_payload = self._encoded(chunk, payload)
            elif empty:
                mender.repaired("chunk-empty")
            return None
        if self._exchange.include_usage and "usage" not in chunk:
            chunk["usage"] = None
            mender.repaired("usage-key")
        mender.check(self.component, chunk)
        self._last = chunk
        sent = self._encoded(chunk, payload)
        self._learn(chunk, payload, sent)
        return sent

    def _learn(self, chunk: dict[str, Any], payload: bytes, sent: bytes) -> None:
        """Remember a chunk that is text and nothing else, for those that will be like it."""
        if self._lessons >= _MOST_LESSONS or len(chunk["choices"]) != 1 or chunk.get("usage") is not None:
            return
        path = self.text_path(chunk["choices"][0])
        if path is None:
            return
        self._lessons += 1
        template = Template.learn(payload, sent, "choices", 0, *path)
        if template is not None:
            self._templates = [template, *self._templates][:_MOST_TEMPLATES]

    @staticmethod
    def _parse(payload: bytes, name: str) -> Any:
        if name != "error":
            return parse(payload)
        try:
            return parse(payload)
        except UpstreamBreach:
            return text_of(payload)  # the reason as plain text

    def _encoded(self, chunk: dict[str, Any], payload: bytes) -> bytes:
        self._mender.changed |= b"\n" in payload  # it would be two lines of an event
        return self._mender.encoded(chunk, payload)

    def end(self, *, done: bool) -> Iterator[bytes]:
        """What is still to be said when the upstream's stream has ended.

        Args:
            done: Whether it ended with ``[DONE]``.

        Raises:
            APIError: It was cut off, or what is missing cannot be known.
        """
        if not done:
            if not self.complete:
                raise UpstreamUnreachable("The server that runs this model broke off its answer.")
            self._exchange.repairs.add("done-missing")
        for index in range(self._exchange.choices):
            choice = self._choices.get(index)
            if choice is None:
                raise UpstreamBreach("The server that runs this model sent fewer answers than were asked for.")
            if not choice.finished:
                self._exchange.repairs.add("finish-missing")
                yield self._closing(index, choice)
        if self.usage is None and (usage := self._mender.usage(self._elsewhere)) is not None:
            self.usage = usage
            self._exchange.repairs.add("usage-elsewhere")
        if self._exchange.include_usage:
            if self.usage is None:
                raise UpstreamBreach("The server that runs this model did not tell the usage.")
            yield self._usage_payload if self._usage_alone else self._synthetic([], usage=self.usage)

    @abstractmethod
    def mend_choice(self, state: Choice, choice: dict[str, Any], *, first: bool) -> bool:
        """Mend one choice of a chunk; False drops it, as it says nothing."""

    @abstractmethod
    def text_path(self, choice: dict[str, Any]) -> tuple[str, ...] | None:
        """Where a choice has its text, if that is all it says and neither its first nor its last."""

    @abstractmethod
    def closing_choice(self, index: int, reason: str) -> dict[str, Any]:
        """A choice that only says why it ended."""

    def _mend_head(self, chunk: dict[str, Any]) -> None:
        mender = self._mender
        given_id, given_created = chunk.get("id"), chunk.get("created")
        if self._id is None:
            self._given = given_id, given_created
            self._id, self._created = self._exchange.answer_id(given_id), self._exchange.created(given_created)
        if (given_id, given_created) != self._given:
            self._exchange.repairs.add("id-changed" if given_id != self._given[0] else "created-changed")
        if given_id != self._id or given_created != self._created or isinstance(given_created, float):
            chunk["id"], chunk["created"] = self._id, self._created
            mender.changed = True
        mender.head(chunk, self.object)

    def _take_usage(self, chunk: dict[str, Any]) -> None:
        """Keep the usage for the end; `_usage_alone` says whether this chunk is there for nothing else."""
        usage, choices = chunk.get("usage"), chunk.get("choices")
        if usage is not None and self._mender.usage(usage) is None:
            usage = chunk["usage"] = None
        if usage is None:
            self._usage_alone = self._usage_alone and not choices
            self._elsewhere = usage_elsewhere(chunk) or self._elsewhere
            return
        self.usage = as_object(usage)
        self._usage_alone = not choices
        if choices and not self._exchange.continuous_usage:
            del chunk["usage"]
            if self._exchange.include_usage:
                chunk["usage"] = None
            self._mender.repaired("usage-beside-choices")

    def _mend_choices(self, chunk: dict[str, Any]) -> None:
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            choices = []
        if None in choices:
            choices = [choice for choice in choices if choice is not None]
            self._mender.repaired("choice-null")
        chunk["choices"] = [choice for at, choice in enumerate(choices) if self._mend(at, as_object(choice))]
        if len(chunk["choices"]) != len(choices):
            self._mender.changed = True

    def _mend(self, at: int, choice: dict[str, Any]) -> bool:
        index = choice.get("index")
        expected = self._exchange.choices
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < expected:
            if at >= expected or (index is not None and expected > 1):
                raise UpstreamBreach("The server that runs this model sent an answer that was not asked for.")
            choice["index"] = index = at
            self._mender.repaired("index")
        if choice.get("error"):
            raise from_event({"error": choice["error"]}, self._exchange)
        state = self._choices.get(index)
        first = state is None
        if state is None:
            state = self._choices[index] = Choice()
        return self.mend_choice(state, choice, first=first)

    def _closing(self, index: int, choice: Choice) -> bytes:
        more: dict[str, Any] = {"usage": None} if self._exchange.include_usage else {}
        reason = "tool_calls" if choice.calls and not self._exchange.named_tool else "stop"
        closing = self.closing_choice(index, reason)
        if choice.calls:
            choice.calls.finish(closing["delta"], self._mender)
        return self._synthetic([closing], **more)

    def _synthetic(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        chunk: dict[str, Any] = {
            "id": self._id,
            "object": self.object,
            "created": self._created,
            "model": self._exchange.model,
            "choices": choices,
            **{name: self._last[name] for name in ("system_fingerprint", "service_tier") if name in self._last},
            **more,
        }
        check(self.component, chunk)
        return encode(chunk)


class ChatStream(Stream):
    """The chunks of a chat answer."""

    object = "chat.completion.chunk"
    component = "CreateChatCompletionStreamResponse"

    def mend_choice(self, state: Choice, choice: dict[str, Any], *, first: bool) -> bool:
        """See `Stream`."""
        mender = self._mender
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            delta = choice.pop("message", None)
            choice["delta"] = delta = delta if isinstance(delta, dict) else {}
            mender.repaired("delta")
            mender.message(delta)
            if state.grown.take(delta):
                mender.repaired("delta-grown")
        else:
            mender.message(delta)
        if first:
            if delta.get("role") != "assistant":
                delta["role"] = "assistant"
                mender.repaired("role")
        elif "role" in delta:
            del delta["role"]
            mender.repaired("role-repeated")
        if isinstance(delta.get("tool_calls"), list):
            state.calls.take(delta["tool_calls"], mender)
            if not delta["tool_calls"]:
                del delta["tool_calls"]
        mender.logprobs(choice)
        reason = mender.finish_reason(choice, called=bool(state.calls))
        if reason is not None and state.calls and not state.finished:
            state.calls.finish(delta, mender)
        says = any(delta.get(name) for name in ("content", "tool_calls", "refusal", "reasoning_content"))
        if state.finished:
            if says:
                raise UpstreamBreach("The server that runs this model went on after the end of its answer.")
            mender.repaired("finish-repeated")
            return False
        if reason == "tool_calls" and not state.calls:
            choice["finish_reason"] = "stop"
            mender.repaired("finish-tool-calls")
        state.finished = reason is not None
        if state.finished:
            self._templates.clear()  # nothing may follow
        return True

    def text_path(self, choice: dict[str, Any]) -> tuple[str, ...] | None:
        """See `Stream`."""
        delta = choice["delta"]
        name = next(iter(delta), None)
        if len(delta) != 1 or name not in {"content", "reasoning_content"} or not isinstance(delta[name], str):
            return None
        return ("delta", name) if choice["finish_reason"] is None and choice.get("logprobs") is None else None

    def closing_choice(self, index: int, reason: str) -> dict[str, Any]:
        """See `Stream`."""
        return {"index": index, "delta": {}, "logprobs": None, "finish_reason": reason}


class TextStream(Stream):
    """The chunks of a completion."""

    object = "text_completion"
    component = "CreateCompletionResponse"

    def mend_choice(self, state: Choice, choice: dict[str, Any], *, first: bool) -> bool:
        """See `Stream`."""
        mender = self._mender
        if choice.get("text") is None:
            choice["text"] = ""
            mender.repaired("content")
        mender.text_logprobs(choice, state.characters)
        state.characters += len(choice["text"]) if isinstance(choice["text"], str) else 0
        reason = mender.finish_reason(choice)
        if state.finished:
            if choice["text"]:
                raise UpstreamBreach("The server that runs this model went on after the end of its answer.")
            mender.repaired("finish-repeated")
            return False
        state.finished = reason is not None
        if state.finished:
            self._templates.clear()  # nothing may follow
        return True

    def text_path(self, choice: dict[str, Any]) -> tuple[str, ...] | None:
        """See `Stream`."""
        return ("text",) if choice["finish_reason"] is None and choice["logprobs"] is None else None

    def closing_choice(self, index: int, reason: str) -> dict[str, Any]:
        """See `Stream`."""
        return {"index": index, "text": "", "logprobs": None, "finish_reason": reason}
