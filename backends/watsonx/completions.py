"""A completion request as IBM's generation API wants it, and its answer as chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from specserve.backends.construct import construct
from specserve.backends.watsonx.chat import share, stops
from specserve.backends.watsonx.logprobs import completion_logprobs
from specserve.backends.watsonx.usage import count
from specserve.generated.models import CompletionChoice, CreateCompletionResponse
from specserve.spec.errors import BadGateway, UnsupportedValue, UpstreamBreach, UpstreamUnreachable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from specserve.backends.base import Call
    from specserve.generated.models import CompletionUsage

PARAMETERS = frozenset(
    {
        "echo",
        "logprobs",
        "max_tokens",
        "min_tokens",
        "model",
        "prompt",
        "repetition_penalty",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "top_k",
        "top_p",
    }
)
_DEFAULT_TOKENS = 16
"""The published default of `max_tokens`."""

_SEEDS = 2**32 - 1
"""IBM's seeds are 1 to this."""

_REASONS = {
    "eos_token": "stop",
    "max_tokens": "length",
    "stop_sequence": "stop",
    "time_limit": "length",
    "token_limit": "length",
}


def prompts(asked: Mapping[str, Any]) -> list[str]:
    """The texts to continue. No prompt is an empty one.

    Raises:
        UnsupportedValue: They are token ids.
    """
    prompt = asked.get("prompt") or ""
    listed = prompt if isinstance(prompt, list) else [prompt]
    if not all(isinstance(text, str) for text in listed):
        raise UnsupportedValue("This model takes text, no token ids.", param="prompt")
    return listed


def generation_body(asked: Mapping[str, Any], prompt: str, most_tokens: int | None) -> dict[str, Any]:
    """What ``/ml/v1/text/generation`` takes, except the model and the project or space.

    Args:
        asked: The parameters that the client sent, as JSON.
        prompt: The text to continue.
        most_tokens: The model's limit, for clients that want no other.

    Raises:
        InvalidRequest: Parameters ask for what IBM's API cannot say.
    """
    limit = asked.get("max_tokens", _DEFAULT_TOKENS)
    # The published API ends a text before its stop string, IBM's by default after it.
    wanted: dict[str, Any] = {"include_stop_sequence": False}
    if limit is not None or most_tokens is not None:
        wanted["max_new_tokens"] = most_tokens if limit is None else limit
    if asked.get("min_tokens"):
        wanted["min_new_tokens"] = asked["min_tokens"]
    if asked.get("repetition_penalty") is not None:
        wanted["repetition_penalty"] = asked["repetition_penalty"]
    if asked.get("stop") is not None:
        wanted["stop_sequences"] = stops(asked["stop"])
    wanted |= _sampling(asked)
    if asked.get("logprobs") is not None:
        options: dict[str, Any] = {"generated_tokens": True, "token_logprobs": True}
        if asked["logprobs"]:
            options["top_n_tokens"] = asked["logprobs"]
        if asked.get("echo"):
            options["input_tokens"] = True
        wanted["return_options"] = options
    return {"input": prompt, "parameters": wanted}


def _sampling(asked: Mapping[str, Any]) -> dict[str, Any]:
    temperature = asked.get("temperature")
    if temperature == 0:
        return {"decoding_method": "greedy"}
    sampling: dict[str, Any] = {"decoding_method": "sample", "temperature": 1 if temperature is None else temperature}
    if asked.get("top_p") is not None:
        sampling["top_p"] = share(asked["top_p"])
    if (asked.get("top_k") or 0) > 0:
        sampling["top_k"] = asked["top_k"]
    seed = asked.get("seed")
    if seed is not None:
        sampling["random_seed"] = seed if 1 <= seed <= _SEEDS else seed % _SEEDS + 1
    return sampling


class GenerationAnswer:
    """Reads the answer to one prompt, whole or in events.

    Args:
        call: Names that each chunk has.
        model: The id that the client knows.
        index: Which prompt this is, and so which choice.
        prompt: Its text.
        asked: The parameters that the client sent.
    """

    def __init__(self, call: Call, model: str, index: int, prompt: str, asked: Mapping[str, Any]) -> None:
        self._call = call
        self._model = model
        self._index = index
        self._prompt = prompt
        self._echo = bool(asked.get("echo"))
        self._scores = asked.get("logprobs") is not None
        self._length = 0  # characters of the choice so far
        self._begun = self._ended = False
        self.prompt_tokens = 0
        self.completion_tokens = 0

    def read(self, event: Mapping[str, Any]) -> Iterator[CreateCompletionResponse]:
        """The chunks of an event, or of a whole answer.

        Raises:
            APIError: It says that the answer failed, or is not understood.
        """
        results = event.get("results")
        if not isinstance(results, list) or not all(isinstance(item, dict) for item in results):
            raise UpstreamBreach("The service behind this model sent what is not understood.")
        for said in results[:1]:
            # In a stream the counts are those so far, and that of the input comes but once.
            self.prompt_tokens = max(self.prompt_tokens, count(said.get("input_token_count")))
            self.completion_tokens = max(self.completion_tokens, count(said.get("generated_token_count")))
            if not self._begun:
                self._begun = True
                yield from self._echoed(said)
            text = said.get("generated_text") or ""
            if not isinstance(text, str):
                raise UpstreamBreach("The service behind this model sent what is not understood.")
            tokens = said.get("generated_tokens") if self._scores else None
            if text or tokens:
                yield self._gained(text, tokens)
            yield from self._end(str(said.get("stop_reason") or "not_finished").lower())

    def check_ended(self) -> None:
        """See that the answer is whole.

        Raises:
            UpstreamUnreachable: It broke off.
        """
        if not self._ended:
            raise UpstreamUnreachable("The service behind this model broke off its answer.")

    def usage_chunk(self, usage: CompletionUsage) -> CreateCompletionResponse:
        """The last chunk of all prompts."""
        chunk = self._of([])
        chunk.usage = usage
        return chunk

    def _echoed(self, said: Mapping[str, Any]) -> Iterator[CreateCompletionResponse]:
        if self._echo:
            tokens = said.get("input_tokens") if self._scores else None
            if isinstance(tokens, list) and tokens:
                tokens = [{**tokens[0], "logprob": None}, *tokens[1:]]  # nothing comes before the first
            yield self._gained(self._prompt, tokens)

    def _end(self, reason: str) -> Iterator[CreateCompletionResponse]:
        if reason == "not_finished" or self._ended:
            return
        if reason == "cancelled":
            raise UpstreamUnreachable("The service behind this model broke off its answer.")
        if reason not in _REASONS:
            raise BadGateway("The service behind this model failed while it answered.")
        self._ended = True
        yield self._chunk("", finish_reason=_REASONS[reason])

    def _gained(self, text: str, tokens: Any) -> CreateCompletionResponse:
        scored = completion_logprobs(tokens, text, self._length) if isinstance(tokens, list) and tokens else None
        self._length += len(text)
        return self._chunk(text, logprobs=scored)

    def _chunk(self, text: str, *, logprobs: Any = None, finish_reason: Any = None) -> CreateCompletionResponse:
        return self._of(
            [construct(CompletionChoice, index=self._index, text=text, logprobs=logprobs, finish_reason=finish_reason)]
        )

    def _of(self, choices: list[CompletionChoice]) -> CreateCompletionResponse:
        return construct(
            CreateCompletionResponse,
            id=self._call.id,
            object="text_completion",
            created=self._call.created,
            model=self._model,
            choices=choices,
        )
