"""What plain answers and chunks have in common, mended in place."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from specserve.backends.upstream.exchange import check, count, encode, first_fault
from specserve.backends.upstream.logprobs import as_chat_logprobs, as_text_logprobs
from specserve.spec.errors import BadGateway, UpstreamBreach

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from specserve.backends.upstream.exchange import Exchange

_FINISH_NAMES = {
    **dict.fromkeys(("complete", "completed", "done", "end", "end_of_text", "end_of_turn", "end_turn"), "stop"),
    **dict.fromkeys(("eos", "eos_token", "finished", "normal", "pause_turn", "stop_sequence", "stop_token"), "stop"),
    **dict.fromkeys(("max_length", "max_new_tokens", "max_tokens", "model_length", "time_limit"), "length"),
    **dict.fromkeys(("token_limit", "max_output_tokens", "context_length", "truncated"), "length"),
    **dict.fromkeys(("tool_call", "tool_use", "function_calls"), "tool_calls"),
    **dict.fromkeys(("content-filter", "content_filtered", "blocklist", "prohibited_content"), "content_filter"),
    **dict.fromkeys(("recitation", "refusal", "safety", "sensitive"), "content_filter"),
}
_GAVE_UP = frozenset({"abort", "aborted", "cancelled", "error", "failed", "insufficient_system_resource"})
# Optional fields that must not be null in the contract, and those of them that are lists of which an empty one says no
# more than an absent one.
_OF_AN_ANSWER = ("system_fingerprint", "service_tier", "metadata")
_TIERS = ("auto", "default", "flex", "scale", "priority", "fast")
_OF_A_MESSAGE = ("function_call", "annotations")
_DETAILS = ("prompt_tokens_details", "completion_tokens_details")
# Without these there is no answer, so nothing in them is dropped to save the rest.
_VITAL = frozenset({"choices", "content", "data", "delta", "embedding", "finish_reason", "index", "message", "text"})
_VITAL |= {"arguments", "function", "name", "tool_calls", "usage"}
_MOST_DROPPED = 8


class Mender:
    """Mends one answer, or the chunks of one.

    Attributes:
        exchange: The request, and what an answer to it must look like.
        changed: Whether anything was, since this was last set to False: if not, the bytes can go out as they came.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.changed = False

    def repaired(self, kind: str) -> None:
        """Note that something was mended."""
        self.changed = True
        self.exchange.repairs.add(kind)

    def head(self, answer: dict[str, Any], kind: str) -> None:
        """Mend the fields around the choices, except the id and the time."""
        if answer.get("object") != kind:
            answer["object"] = kind
            self.repaired("object")
        if answer.get("model") != self.exchange.model:
            # Not a fault: the upstream may know the model by another name. Clients go by the one that they asked for.
            answer["model"] = self.exchange.model
            self.changed = True
        for name in _OF_AN_ANSWER:
            if name in answer and answer[name] is None and name != "service_tier":
                self._drop(answer, name)
        if answer.get("service_tier") is not None and answer["service_tier"] not in _TIERS:
            self._drop(answer, "service_tier")

    def _drop(self, holder: dict[str, Any], name: str) -> None:
        del holder[name]
        self.repaired("null-for-absent")

    def usage(self, usage: object) -> dict[str, Any] | None:
        """Counts that add up, or None where they cannot be known.

        Raises:
            UpstreamBreach: It is not an object.
        """
        if usage is None:
            return None
        usage = as_object(usage)
        for name in _DETAILS:
            if name in usage and usage[name] is None:
                self._drop(usage, name)
            for details in objects([usage.get(name)]):
                for key in [key for key, value in details.items() if value is None]:
                    self._drop(details, key)
        given = {name: usage.get(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
        prompt, completion, total = (count(value) for value in given.values())
        if prompt is None and completion is not None and total is not None:
            prompt = max(0, total - completion)
        if completion is None and prompt is not None and total is not None:
            completion = max(0, total - prompt)
        if prompt is None or completion is None:
            self.repaired("usage-empty")
            return None
        known = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        if given != known or any(type(value) is not int for value in given.values()):
            usage.update(known)
            self.repaired("usage-counts")
        return usage

    def finish_reason(self, choice: dict[str, Any], *, called: bool = False) -> str | None:
        """The finish reason of a choice in the contract's words.

        Args:
            choice: Where it is.
            called: Whether a tool was called in this choice.
        """
        if "finish_reason" not in choice or choice["finish_reason"] == "":
            choice["finish_reason"] = None
            self.repaired("finish-key")
        reason = choice["finish_reason"]
        if reason is None or not isinstance(reason, str):
            return None
        word = reason.lower()
        if word in _GAVE_UP:
            raise BadGateway("The server that runs this model gave up amid the answer.")
        word = _FINISH_NAMES.get(word, word)
        if word != reason:
            choice["finish_reason"] = word
            self.repaired("finish-name")
        if word == "stop" and called and not self.exchange.named_tool:
            # Agents look here for whether there is a tool to run. OpenAI says stop only for a tool that was named.
            word = choice["finish_reason"] = "tool_calls"
            self.repaired("finish-stop")
        return word

    def message(self, message: dict[str, Any]) -> None:
        """Mend what a message and a delta have in common."""
        if "reasoning" in message and "reasoning_content" not in message:
            thoughts = message.pop("reasoning")
            if isinstance(thoughts, str):
                message["reasoning_content"] = thoughts
            self.repaired("reasoning")
        content = message.get("content")
        if isinstance(content, list):
            message["content"] = "".join(_text(part) for part in content)
            self.repaired("content")
        if "tool_calls" in message and not message["tool_calls"]:
            del message["tool_calls"]
            self.repaired("tool-calls-empty")
        elif isinstance(message.get("tool_calls"), dict):
            message["tool_calls"] = [message["tool_calls"]]
            self.repaired("tool-call-function")
        for name in _OF_A_MESSAGE:
            if name in message and message[name] is None:
                self._drop(message, name)

    def logprobs(self, choice: dict[str, Any]) -> None:
        """Complete the log-probabilities of a chat choice."""
        logprobs = choice.get("logprobs")
        if not isinstance(logprobs, dict):
            return
        if "content" not in logprobs and isinstance(logprobs.get("tokens"), list):
            choice["logprobs"] = logprobs = as_chat_logprobs(logprobs)
            self.repaired("logprobs-form")
        for name in ("content", "refusal"):
            if name not in logprobs:
                logprobs[name] = None
                self.repaired("logprobs")
        for entry in objects(logprobs["content"]):
            if entry.get("top_logprobs") is None:
                entry["top_logprobs"] = []
                self.repaired("logprobs")
            for one in (entry, *objects(entry["top_logprobs"])):
                if "bytes" not in one and isinstance(one.get("token"), str):
                    one["bytes"] = list(one["token"].encode(errors="replace"))
                    self.repaired("logprobs")

    def text_logprobs(self, choice: dict[str, Any], offset: int) -> None:
        """Complete the log-probabilities of a completion's choice, whose text begins at an offset, in characters."""
        if "logprobs" not in choice:
            choice["logprobs"] = None
            self.repaired("logprobs")
        logprobs = choice["logprobs"]
        if isinstance(logprobs, dict) and "tokens" not in logprobs and isinstance(logprobs.get("content"), list):
            choice["logprobs"] = as_text_logprobs(logprobs["content"], offset)
            self.repaired("logprobs-form")

    def arguments(self, function: dict[str, Any]) -> None:
        """Make the arguments of a call JSON text."""
        if isinstance(function.get("arguments"), dict | list):
            function["arguments"] = encode(function["arguments"]).decode()
            self.repaired("tool-call-arguments")

    def check(self, component: str, value: dict[str, Any]) -> None:
        """Hold what was mended against the contract. What is optional and still wrong is dropped.

        Raises:
            UpstreamBreach: What is left breaks the contract.
        """
        for _ in range(_MOST_DROPPED):
            path = first_fault(component, value)
            if path is None:
                return
            if not self._drop_optional(component, value, path):
                break
            self.repaired("null-for-absent")
        check(component, value)

    def _drop_optional(self, component: str, value: dict[str, Any], path: Sequence[str | int]) -> bool:
        """Drop what is wrong, or what it is part of, unless there is no answer without it."""
        for at in range(len(path) - 1, -1, -1):
            name = path[at]
            if name in _VITAL:
                return False
            if not isinstance(name, str):
                continue
            holder: Any = value
            for part in path[:at]:
                holder = holder[part]
            if name not in holder:
                continue
            dropped = holder.pop(name)
            again = first_fault(component, value)
            if again is None or list(again) != list(path[:at]):
                return True
            holder[name] = dropped  # it must be there
        return False

    def encoded(self, value: object, given: bytes) -> bytes:
        """The bytes that go out: those that came if nothing was changed. Our keys are not in them."""
        redactor = self.exchange.redactor
        doubtful = redactor.needs_reading(given)
        data = encode(value) if self.changed or doubtful else given
        clean = redactor.data(data) if doubtful else data
        if clean is not data:
            self.repaired("key-hidden")
        return clean


def usage_elsewhere(answer: Mapping[str, Any]) -> dict[str, Any] | None:
    """The usage of servers that tell it in a place of their own."""
    groq = answer.get("x_groq")
    if isinstance(groq, dict) and isinstance(groq.get("usage"), dict):
        usage: dict[str, Any] = groq["usage"]
        return usage
    timings = answer.get("timings")
    if isinstance(timings, dict):  # llama.cpp: prompt_n are those that the cache did not hold
        new, cached, generated = (count(timings.get(name)) for name in ("prompt_n", "cache_n", "predicted_n"))
        if new is not None and generated is not None:
            prompt = new + (cached or 0)
            return {"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated}
    return None


def new_call_id() -> str:
    """An id for a call of a tool."""
    return f"call_{uuid.uuid4().hex[:24]}"


def objects(value: object) -> list[dict[str, Any]]:
    """The objects in what should be a list of them; what else is there is for the validator to find."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def as_object(value: object) -> dict[str, Any]:
    """Take what must be a JSON object.

    Raises:
        UpstreamBreach: It is something else.
    """
    if not isinstance(value, dict):
        raise UpstreamBreach("The server that runs this model sent no object where one must be.")
    return value


def _text(part: Any) -> str:
    text = part.get("text") if isinstance(part, dict) else part
    return text if isinstance(text, str) else ""
