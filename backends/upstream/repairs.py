"""What is repaired in what an upstream sends: the list, and a log of it."""

from __future__ import annotations

from types import MappingProxyType

import structlog

# Kind of repair -> what the upstream did, and what is done about it. The docs show this table.
REPAIRS = MappingProxyType(
    {
        "id": "no id, or not a string: one of ours",
        "id-changed": "another id in a later chunk: the first one stays",
        "id-repeated": "an id that another answer had: one of ours",
        "object": "`object` missing or wrong: that of the contract",
        "created": "`created` missing, or not a whole number of seconds: converted, or when the request came",
        "created-changed": "another `created` in a later chunk: the first one stays",
        "index": "a choice, call or vector without its index, or with an impossible one: counted",
        "choice-null": "null among the choices: dropped",
        "message": "no `message` in a choice, but `delta` or `text`: taken as the message",
        "delta": "no `delta` in a chunk, or `message` in its place: what is there, or nothing",
        "delta-grown": "chunks that repeat the whole message so far: what is new in each",
        "role": "the first delta of a choice, or the message, without the role `assistant`: added",
        "role-repeated": "the role in a later delta: dropped",
        "content": "no `content` in a message, or a list of text parts: null, or their text",
        "refusal": "no `refusal` in a message: null",
        "reasoning": "thoughts as `reasoning`: as `reasoning_content`",
        "logprobs": "no key `logprobs`, or parts of it missing: null, or computed from the token",
        "logprobs-form": "a completion's `logprobs` in the form of a chat's, or the reverse: converted",
        "null-for-absent": "null in an optional field that must not be null, or a value that is not allowed: dropped",
        "tool-calls-empty": "`tool_calls` empty or null: dropped",
        "tool-call-id": "a call without an id, or with that of another call: one of ours",
        "tool-call-id-changed": "another id, without a name, in a later piece of a call: the first one stays",
        "tool-call-type": "a call without its type: `function`",
        "tool-call-function": "name and arguments beside `function`, or calls that are no list: put in their place",
        "tool-call-head-late": "a call whose name comes in a later piece: held back until then",
        "tool-call-head-repeated": "id, type or name of a call again in a later piece: dropped",
        "tool-call-arguments": "arguments as an object, null or missing: JSON text, or `{}`; null pieces: dropped",
        "finish-key": "no key `finish_reason`, or an empty one: null, or why a plain answer must have ended",
        "finish-name": "another word for a finish reason (`eos`, `max_tokens`, `tool_use`): that of the contract",
        "finish-tool-calls": "`finish_reason: tool_calls` where nothing was called: `stop`",
        "finish-stop": "`finish_reason: stop` where tools were called that the client did not name: `tool_calls`",
        "finish-missing": "a stream that ends with `[DONE]`, but without a finish reason: `stop`, or `tool_calls`",
        "finish-repeated": "a chunk without text after the finish reason: dropped",
        "usage-key": "with usage asked for, chunks without `usage: null`: added",
        "usage-beside-choices": "the usage beside choices, or in several chunks: the last one, in a chunk of its own",
        "usage-elsewhere": "no `usage`, but `timings` or `x_groq` with the counts: taken from there",
        "usage-counts": "a usage without its sum or with a wrong one, counts as text or as floats: computed, converted",
        "usage-empty": "a usage without its counts: dropped; of embeddings, which must have one: zeros",
        "chunk-empty": "a chunk without choices and without usage: dropped",
        "done-missing": "no `[DONE]`, though every choice has its finish reason: added",
        "not-streamed": "a plain answer to a request for a stream: as chunks",
        "embedding-format": "floats where base64 was asked for, or the reverse: converted",
        "embedding-order": "vectors in another order than their indexes: sorted",
        "error-shape": "an error outside the envelope, or a number as its code: the envelope",
        "key-hidden": "our key for the upstream, in an answer: `***`",
    }
)


class RepairLog:
    """Logs each kind of repair once. One for each model.

    Attributes:
        kinds: Those that were made so far.
    """

    def __init__(self, model: str) -> None:
        self.kinds: set[str] = set()
        self._model = model
        self._log = structlog.get_logger("specserve.upstream")

    def add(self, kind: str) -> None:
        """A repair of this kind was made."""
        if kind not in self.kinds:
            self.kinds.add(kind)
            self._log.warning("repaired what the upstream sent", model=self._model, kind=kind, what=REPAIRS[kind])
