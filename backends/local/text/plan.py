"""What a request asks of the engine, read from its parameters and checked against the model's context."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from specserve.backends.local.engine import Sampling
from specserve.backends.local.prompts.messages import plain
from specserve.spec.errors import ContextLengthExceeded, InvalidRequest, UnsupportedParameter, UnsupportedValue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import BaseModel

    from specserve.backends.local.prompts.reasoning import Thinking

DEFAULT_COMPLETION_TOKENS = 16
"""The published default of `max_tokens` of a completion."""

_MOST_CHOICES = 1024
"""Sequences of one request. `n` is at most 128 by the spec, the number of prompts has no limit there."""

_MOST_DIGITS = 10
"""Of a token id. Longer numbers are not even read."""

_PLAIN = frozenset({bool, float, int, str, type(None)})


@dataclass(frozen=True)
class Job:
    """One prompt and what to do with it.

    Attributes:
        prompt: Token ids.
        sampling: With `max_tokens` cut to what the context leaves; 0 generates nothing.
        echoed: Text to begin each answer with; None for none.
    """

    prompt: Sequence[int]
    sampling: Sampling
    echoed: str | None = None


@dataclass(frozen=True)
class Plan:
    """All that one request asks of the engine.

    Attributes:
        jobs: One for each prompt.
        n: Answers to each prompt.
        alternatives: How many alternatives to show for each token; None if no log-probabilities were asked for.
        thinking: How answers begin, if they may begin with thoughts.
        candidates: How many answers to generate for each prompt, of which the `n` likeliest are returned; 0 for `n`.
        shows_end: Whether the token that ends an answer is scored with the others.
    """

    jobs: list[Job]
    n: int
    alternatives: int | None
    thinking: Thinking | None = None
    candidates: int = 0
    shows_end: bool = False

    @property
    def generated(self) -> int:
        """Answers that are generated for each prompt."""
        return self.candidates or self.n


def parameters(request: BaseModel, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The request's parameters by name, defaults included.

    Not by attribute: reading a parameter that the published API calls deprecated (`seed`, `max_tokens`) would warn.

    Args:
        request: The request.
        body: The same as JSON, if it is at hand. What is no scalar is taken from it: unmaking models takes longer than
            all else.
    """
    values, asked = vars(request), _defaults(type(request)).copy()
    made = set()
    for name in request.model_fields_set:
        if type(values[name]) in _PLAIN:
            asked[name] = values[name]
        else:
            made.add(name)
    if body is not None:
        asked.update({name: body[name] for name in made})
    elif made:
        asked.update(request.model_dump(include=made, exclude_unset=True))
    return asked


@cache
def _defaults(kind: type[BaseModel]) -> dict[str, Any]:
    fields = kind.model_fields.items()
    return {name: plain(field.get_default()) for name, field in fields if not field.is_required()}


def chat_limit(asked: Mapping[str, Any]) -> int | None:
    """The limit of a chat answer in tokens, under either of its names; None if there is none.

    Raises:
        InvalidRequest: Both names are used, with different limits.
    """
    old, new = asked["max_tokens"], asked["max_completion_tokens"]
    if old is not None and new is not None and old != new:
        raise InvalidRequest("Give either 'max_completion_tokens' or 'max_tokens', not both.", param="max_tokens")
    return new if old is None else old  # type: ignore[no-any-return] # validated against the spec


def chat_alternatives(asked: Mapping[str, Any]) -> int | None:
    """What `logprobs` and `top_logprobs` of a chat request ask for, as in `Plan`.

    Raises:
        InvalidRequest: `top_logprobs` without `logprobs`.
    """
    if asked["logprobs"]:
        return asked["top_logprobs"] or 0
    if asked["top_logprobs"]:
        raise InvalidRequest("'top_logprobs' is only allowed when 'logprobs' is true.", param="top_logprobs")
    return None


def completion_alternatives(asked: Mapping[str, Any], *, engine_ranks: bool) -> int | None:
    """What `logprobs` of a completion asks for, as in `Plan`.

    Raises:
        UnsupportedValue: Alternatives are asked for, and the engine tells the chosen token's log-probability only.
        UnsupportedParameter: Log-probabilities of an echoed prompt are asked for, and it tells none.
    """
    count: int | None = asked["logprobs"]
    if count and not engine_ranks:
        raise UnsupportedValue("This model tells only the chosen token: use 'logprobs': 0.", param="logprobs")
    if count is not None and asked["echo"] and not engine_ranks:
        raise UnsupportedParameter("This model cannot score a prompt: use 'echo' without 'logprobs'.", param="echo")
    return count


def candidates(asked: Mapping[str, Any], *, engine_scores: bool) -> int:
    """What `best_of` of a completion asks for, as in `Plan`: 1 is its default, and all of `n` are the best of `n`.

    Raises:
        InvalidRequest: It is less than `n`, or its answers are to be streamed.
        UnsupportedValue: The engine does not tell how likely an answer is.
    """
    n, best_of = asked["n"] or 1, asked["best_of"] or 1
    if best_of == 1 or best_of == n:
        return 0
    if best_of < n:
        raise InvalidRequest("'best_of' must not be less than 'n'.", param="best_of")
    if asked["stream"]:
        raise InvalidRequest("Results of 'best_of' cannot be streamed.", param="best_of")
    if not engine_scores:
        raise UnsupportedValue("This model cannot tell which of its answers is best.", param="best_of")
    return int(best_of)


def make_plan(
    asked: Mapping[str, Any],
    prompts: Sequence[Sequence[int]],
    *,
    limit: int | None,
    default_limit: int | None,
    alternatives: int | None,
    context_length: int,
    vocabulary: int,
    param: str,
    echoed: Sequence[str] = (),
    candidates: int = 0,
    engine_ranks: bool = False,
    thinking: Thinking | None = None,
) -> Plan:
    """Put a request together.

    Args:
        asked: See `parameters`.
        prompts: Token ids of each prompt.
        limit: Most tokens of an answer, as the client said, or None.
        default_limit: Most tokens where the client said nothing; None for all that the context leaves.
        alternatives: See `Plan`.
        context_length: Of the model.
        vocabulary: Token ids of the model are below this.
        param: Name of the parameter that the prompts came from.
        echoed: For each prompt, text to begin its answers with; or empty.
        candidates: See `Plan`.
        engine_ranks: Whether the engine's outputs are `RankedOutput`.
        thinking: See `Plan`.

    Raises:
        ContextLengthExceeded: A prompt leaves no room, or not as much as the client asked for.
        InvalidRequest: Parameters contradict each other.
    """
    n: int = asked["n"] or 1
    if max(n, candidates) * len(prompts) > _MOST_CHOICES:
        raise InvalidRequest(f"One request can have at most {_MOST_CHOICES} choices.", param=param)
    scored, ranked = alternatives is not None or candidates > 0, alternatives is not None and engine_ranks
    logit_bias = _logit_bias(asked["logit_bias"] or {}, vocabulary)
    jobs = []
    for at, prompt in enumerate(prompts):
        room = _room(len(prompt), limit, context_length, param)
        max_tokens = min(room, default_limit or room) if limit is None else limit
        sampling = _sampling(
            asked,
            max_tokens,
            logit_bias=logit_bias,
            logprobs=scored,
            ranked=ranked,
            rank_prompt=ranked and bool(echoed),
        )
        jobs.append(Job(prompt, sampling, echoed[at] if echoed else None))
    return Plan(jobs, n, alternatives, thinking, candidates=candidates, shows_end=bool(echoed))


def _room(prompt_tokens: int, limit: int | None, context_length: int, param: str) -> int:
    """Tokens that the context leaves for an answer."""
    most = f"This model's maximum context length is {context_length} tokens."
    if prompt_tokens + (1 if limit is None else min(limit, 1)) > context_length:
        raise ContextLengthExceeded(
            f"{most} However, your {param} resulted in {prompt_tokens} tokens. Please reduce the length of the "
            f"{param}.",
            param=param,
        )
    if limit is not None and prompt_tokens + limit > context_length:
        raise ContextLengthExceeded(
            f"{most} However, you requested {prompt_tokens + limit} tokens ({prompt_tokens} in the {param}, {limit} in "
            f"the completion). Please reduce the length of the {param} or completion.",
            param=param,
        )
    return context_length - prompt_tokens


def _sampling(
    asked: Mapping[str, Any],
    max_tokens: int,
    *,
    logit_bias: tuple[tuple[int, float], ...],
    logprobs: bool,
    ranked: bool,
    rank_prompt: bool,
) -> Sampling:
    min_tokens: int = asked["min_tokens"] or 0
    if min_tokens > max_tokens:
        raise InvalidRequest("'min_tokens' is more than the answer may have.", param="min_tokens")
    return Sampling(
        max_tokens=max_tokens,
        min_tokens=min_tokens,
        temperature=_given(asked["temperature"], 1.0),
        top_p=_given(asked["top_p"], 1.0),
        top_k=max(0, asked["top_k"] or 0),  # -1 is another name for all
        min_p=asked["min_p"] or 0.0,
        repetition_penalty=_given(asked["repetition_penalty"], 1.0),
        presence_penalty=asked["presence_penalty"] or 0.0,
        frequency_penalty=asked["frequency_penalty"] or 0.0,
        logit_bias=logit_bias,
        seed=asked["seed"],
        ignore_eos=bool(asked["ignore_eos"]),
        stop=_stop(asked["stop"]),
        logprobs=logprobs,
        ranked=ranked,
        rank_prompt=rank_prompt,
        streamed=bool(asked["stream"]),
    )


def _logit_bias(asked: Mapping[str, Any], vocabulary: int) -> tuple[tuple[int, float], ...]:
    biases = []
    for name, value in asked.items():
        if not (name.isascii() and name.isdigit()) or len(name) > _MOST_DIGITS or int(name) >= vocabulary:
            raise InvalidRequest(f"Names in 'logit_bias' are token ids, below {vocabulary}.", param="logit_bias")
        biases.append((int(name), float(plain(value))))
    return tuple(biases)


def _given(value: float | None, default: float) -> float:
    return default if value is None else value


def _stop(value: str | list[str] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())
