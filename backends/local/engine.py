"""The engine contract: token ids in, token ids out. Whatever is not the engine is shared, in this folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from specserve.backends.base import Activity, Precision
from specserve.backends.local.grammars.grammar import Grammar


@dataclass(slots=True)
class Sampling:
    """How to choose tokens. A field at its default asks for nothing.

    Not to be changed, though it is not frozen: that would take a request four times as long to make.

    Attributes:
        max_tokens: Most tokens to generate, already cut to what the context leaves; 0 only with `rank_prompt`.
        min_tokens: End of sequence is impossible before this many tokens.
        temperature: 0 is greedy.
        top_p: Keep the smallest set of tokens whose probabilities add up to this.
        top_k: Keep this many tokens; 0 keeps all.
        min_p: Keep tokens at least this likely, relative to the likeliest.
        repetition_penalty: Divides logits of tokens seen before; 1 is off.
        presence_penalty: Subtracted once from the logits of tokens generated before.
        frequency_penalty: Subtracted per occurrence.
        logit_bias: Token ids and what is added to their logits.
        seed: Same seed, same request, same answer; None draws a fresh one.
        ignore_eos: Go on after end of sequence.
        stop: Strings that end the answer. An engine may use them to end early; cutting the text is done by the caller.
        grammar: What the answer must look like, from its first token to its end. Not with `min_tokens` or `ignore_eos`.
        logprobs: Also give the log-probability of each chosen token.
        ranked: Also give the likeliest others, in a `RankedOutput`. Asked only of an engine that does.
        rank_prompt: Also rank the prompt's own tokens. As `ranked`.
        streamed: The client sees tokens as they come. If not, an engine may keep several for one output.
    """

    max_tokens: int
    min_tokens: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int | None = None
    ignore_eos: bool = False
    stop: tuple[str, ...] = ()
    grammar: Grammar | None = None
    logprobs: bool = False
    ranked: bool = False
    rank_prompt: bool = False
    streamed: bool = False


@dataclass(slots=True)
class TokenOutput:
    """What one sequence gained in one engine step.

    Attributes:
        index: Which of the `n` sequences, from 0.
        token_ids: New tokens, in order; end-of-sequence tokens are left out. May be empty when it only finishes.
        logprobs: Natural log-probability of each of `token_ids`, when asked for; else empty.
        finish_reason: Set once, on the sequence's last output. ``length`` if `max_tokens` was reached.
        cached_tokens: Prompt tokens found in the prefix cache, on any output where the engine knows it.
        ended_by: The end-of-sequence token that ended the sequence, on its last output, if the engine tells.
    """

    index: int
    token_ids: list[int]
    logprobs: list[float]
    finish_reason: Literal["stop", "length"] | None = None
    cached_tokens: int | None = None
    ended_by: int | None = None


Alternatives = list[tuple[int, float]]
"""Token ids and natural log-probabilities, the likeliest first."""


@dataclass(slots=True)
class RankedOutput(TokenOutput):
    """A `TokenOutput` of an engine that also tells what else could have come.

    Attributes:
        alternatives: For each of `token_ids`, if `Sampling.ranked` asked for them: the likeliest tokens, the 20 that
            the API can show or all that there are.
        prompt: The same for the prompt's tokens but the first, each with its own log-probability in front, if
            `Sampling.rank_prompt` asked for them; on the first output of sequence 0, before any other output.
        end: The same for `ended_by`.
    """

    alternatives: list[Alternatives] = field(default_factory=list)
    prompt: list[tuple[float, Alternatives]] | None = None
    end: tuple[float, Alternatives] | None = None


class Tokenizer(ABC):
    """Text to ids and back. Must be safe to call from several threads."""

    @abstractmethod
    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Token ids of `text`; special tokens that stand in the text as text are recognised."""

    @abstractmethod
    def token_bytes(self, token_id: int) -> bytes:
        """The exact bytes a token stands for, perhaps part of a character; empty for control tokens.

        Raises:
            IndexError: No such token.
        """

    def text_bytes(self, token_ids: Sequence[int]) -> bytes:
        """The bytes of several tokens."""
        return b"".join(map(self.token_bytes, token_ids))

    def least_tokens(self, text: str) -> int:
        """At least how many tokens `text` is, told without tokenising it; 0 where nothing is known."""
        del text
        return 0

    @property
    def control_tokens(self) -> Mapping[str, int]:
        """The control tokens that `encode` recognises in a text, with their ids: those that have no bytes.

        A tokenizer that names any reads guards as well; see `encode_guarded`.
        """
        return {}

    def encode_guarded(self, text: str, guard: str) -> list[int]:
        """As `encode` of `text` without `guard`, but a control token with `guard` in it is plain text.

        Args:
            text: What a chat template made of guarded messages; see `literal.py`.
            guard: One character.
        """
        return self.encode(text.replace(guard, ""), add_special_tokens=False)

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of tokens; ids are below it."""


class Engine(ABC):
    """Runs one model. Any number of generations join and leave its running batch.

    Attributes:
        precision: With which numbers it computes, once it is open and if it tells.
    """

    precision: Precision | None = None

    @property
    @abstractmethod
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""

    @property
    @abstractmethod
    def context_length(self) -> int:
        """Most tokens of prompt and answer together."""

    @property
    @abstractmethod
    def chat_template(self) -> str | None:
        """The model's own Jinja chat template, or None for a base model."""

    @property
    @abstractmethod
    def special_tokens(self) -> dict[str, str]:
        """Names a chat template may use: ``bos_token``, ``eos_token``, ``pad_token``, those the model has."""

    @abstractmethod
    def generate(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        n: int,
    ) -> AsyncGenerator[list[TokenOutput], None]:
        """Generate `n` sequences; yields what is new after each engine step that brought something.

        Several steps that are ready together may come in one list, each output in its place. An empty list may come
        first: the engine has taken the request, its grammar included, and will not refuse it any more.
        Closing the generator stops all its sequences within one step and frees their KV cache. Ends when all `n` have a
        `finish_reason`. Raises `EngineFailure` if the engine broke, `Unavailable` if it is shutting down.
        """

    @abstractmethod
    def activity(self) -> Activity:
        """What the engine is doing now, by its own count."""

    def outage(self) -> str | None:
        """Why it can generate nothing just now; see `Backend.outage`."""
        return None

    def report_outages(self, listener: Callable[[], None]) -> None:  # noqa: B027  most engines have no outages
        """Call the listener whenever what `outage` says has changed. An engine that never says anything need not."""

    @abstractmethod
    async def stop(self) -> None:
        """End everything; running generations raise `Unavailable`."""
