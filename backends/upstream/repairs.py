"""What is mended in what an upstream sends: the list, and who has been told of it."""

from __future__ import annotations

from types import MappingProxyType

import structlog

# Kind of repair -> what the upstream did, and what is done about it. The docs show this table.
REPAIRS = MappingProxyType(
    {
        "id": "no id, or not a string: one of ours",
        "id-changed": "another id in a later chunk: the first one stays",
        "id-repeated": "an id that another answer had: one of ours",
        "object": "`object` missing or another: the one of the contract",
        "created": "`created` missing or no whole number of seconds: when the request came",
        "created-changed": "another `created` in a later chunk: the first one stays",
        "index": "a choice, call or vector without its index, or with one that cannot be: counted",
        "delta": "no `delta`, or `message` in its place: what is there, or nothing",
        "role": "the first delta of a choice, or the message, without the role `assistant`: added",
        "role-repeated": "the role in a later delta: dropped",
        "content": "no `content` in a message, or a list of text parts: null, or their text",
        "refusal": "no `refusal` in a message: null",
        "reasoning": "thoughts as `reasoning`: they are `reasoning_content`",
        "logprobs": "no key `logprobs`, or parts of it missing: null, or computed from the token",
        "logprobs-form": "a completion's `logprobs` in the form of a chat's, or the reverse: converted",
        "null-for-absent": "null in an optional field that is no nullable one, or a value outside its list: dropped",
        "tool-calls-empty": "`tool_calls` empty or null: dropped",
        "tool-call-id": "a call without an id, or with one that another call has: one of ours",
        "tool-call-type": "a call without its type: `function`",
        "tool-call-head-repeated": "id, type or name of a call again in a later piece: dropped",
        "tool-call-arguments": "the arguments as an object: their JSON text",
        "finish-key": "no key `finish_reason`, or an empty one: null",
        "finish-name": "another word for a finish reason (`eos`, `max_tokens`, `tool_use`): the contract's",
        "finish-tool-calls": "`finish_reason: tool_calls` where nothing was called: `stop`",
        "finish-missing": "a stream that ends with `[DONE]`, but without a finish reason: `stop`, or `tool_calls`",
        "finish-repeated": "a chunk without text after the finish reason: dropped",
        "usage-key": "with usage asked for, chunks without `usage: null`: added",
        "usage-beside-choices": "the usage beside choices, or in several chunks: the last one, in a chunk of its own",
        "usage-elsewhere": "no `usage`, but `timings` or `x_groq` that hold it: taken from there",
        "usage-counts": "a usage without its sum, or with a wrong one: computed",
        "chunk-empty": "a chunk without choices and without usage: dropped",
        "done-missing": "no `[DONE]`, though every choice has its finish reason: added",
        "not-streamed": "a plain answer to a request for a stream: as chunks",
        "embedding-format": "floats where base64 was asked for, or the reverse: converted",
        "embedding-order": "vectors in another order than their indexes: sorted",
        "error-shape": "an error outside the envelope, a number as its code: the envelope",
    }
)


class Notes:
    """Tells the log of each kind of repair once. One for each model."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._told: set[str] = set()
        self._log = structlog.get_logger("specserve.upstream")

    def add(self, kind: str) -> None:
        """A repair of this kind was made."""
        if kind not in self._told:
            self._told.add(kind)
            self._log.warning("repaired what the upstream sent", model=self._model, kind=kind, what=REPAIRS[kind])
