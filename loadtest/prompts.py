"""The requests of a run: made-up prompts of a wanted length, or those of a file."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from specserve.generated.models import CreateChatCompletionRequest
from specserve.loadtest.distributions import Distribution

_MOST_ROWS = 100_000
_ENDING = "Go on with this text, in whole sentences, for as long as you can."


@cache
def _common_words() -> tuple[str, ...]:
    """Most of them are one token in most vocabularies."""
    return tuple(files("specserve.loadtest").joinpath("words.txt").read_text("utf-8").split())


class BadDataset(ValueError):
    """The file holds no requests; the message says what it should hold."""


@dataclass(frozen=True)
class Request:
    """One request, ready to be sent.

    Attributes:
        body: JSON.
        prompt_tokens: How many it was made for; of a file's rows a guess from the number of words.
        output_tokens: The most that it asks for.
    """

    body: bytes
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class TokensOfWords:
    """How the server counts our words: ``base + per_word * words`` tokens.

    Attributes:
        base: Of template, nonce and last sentence.
        per_word: Of each word.
        measured: Whether the server's usage said so, or it is a guess.
    """

    base: float = 30.0
    per_word: float = 1.1
    measured: bool = False

    @classmethod
    def fit(cls, few: tuple[int, int], many: tuple[int, int]) -> TokensOfWords:
        """The line through two prompts of (words, tokens)."""
        per_word = (many[1] - few[1]) / (many[0] - few[0])
        if per_word <= 0:
            return cls()
        return cls(max(few[1] - per_word * few[0], 0.0), per_word, measured=True)

    def words(self, tokens: int) -> int:
        """How many words make a prompt of so many tokens."""
        return max(round((tokens - self.base) / self.per_word), 1)

    def tokens(self, words: int) -> int:
        """The other way round."""
        return round(self.base + self.per_word * words)


@dataclass(frozen=True)
class Prompts:
    """Makes the requests; the same arguments give the same ones, in whatever process.

    Attributes:
        model: Named in each.
        prompt: Length of prompts, in tokens.
        output: Length of answers, in tokens; a limit, as the model may end before.
        seed: Of lengths and words.
        salt: Of this run: makes prompts unlike those of an earlier run with the same seed, which a server may cache.
        shared_prefix: Tokens that all prompts begin with.
        rows: Of a file, in place of made-up prompts.
        limit_field: ``max_tokens`` or ``max_completion_tokens``.
        usage: Whether to ask for the usage chunk.
        extra: Fields that are added to every request as they are.
        scale: How the server counts words.
    """

    model: str
    prompt: Distribution
    output: Distribution
    seed: int
    salt: str
    shared_prefix: int = 0
    rows: tuple[Mapping[str, Any], ...] = ()
    limit_field: str = "max_tokens"
    usage: bool = True
    extra: Mapping[str, Any] | None = None
    scale: TokensOfWords = TokensOfWords()

    def make(self, stage: int, number: int) -> Request:
        """The request of that number in that stage."""
        rng = random.Random(f"{self.seed}/{stage}/{number}")  # noqa: S311  # not for secrets
        tokens, limit = self.prompt.sample(rng), self.output.sample(rng)
        if self.rows:
            row = self.rows[number % len(self.rows)]
            limit = row.get("output_tokens", limit)
            tokens = self.scale.tokens(sum(len(str(m.get("content", "")).split()) for m in row["messages"]))
            return self._request(row["messages"], tokens, limit)
        words = self.scale.words(tokens)
        # What all share comes first, as a cache of prefixes compares from the beginning; else nothing may be shared.
        shared = self._words(random.Random(f"{self.seed}/shared"), self._shared_words)  # noqa: S311
        nonce = hashlib.sha256(f"{self.salt}/{stage}/{number}".encode()).hexdigest()[:8]
        own = self._words(rng, max(words - len(shared), 1))
        return self.of_words([*shared, f"{nonce}:", *own], max(tokens, round(self.scale.base)), limit)

    def of_words(self, words: Sequence[str], tokens: int, limit: int) -> Request:
        """A request with one message of these words."""
        return self._request([{"role": "user", "content": f"{' '.join(words)}. {_ENDING}"}], tokens, limit)

    def probe(self, words: int) -> Request:
        """A request of so many words for one token, to learn how the server counts."""
        chosen = self._words(random.Random(f"{self.salt}/{words}"), words)  # noqa: S311
        return self.of_words([f"{self.salt[:8]}:", *chosen], words * 2, 1)

    def scaled(self, scale: TokensOfWords) -> Prompts:
        """The same, knowing how the server counts."""
        return replace(self, scale=scale)

    @property
    def _shared_words(self) -> int:
        return round(self.shared_prefix / self.scale.per_word)

    @staticmethod
    def _words(rng: random.Random, count: int) -> list[str]:
        return rng.choices(_common_words(), k=count)

    def _request(self, messages: Sequence[Mapping[str, Any]], tokens: int, limit: int) -> Request:
        fields: dict[str, Any] = {"model": self.model, "messages": messages, "stream": True, self.limit_field: limit}
        if self.usage:
            fields["stream_options"] = {"include_usage": True}
        body = CreateChatCompletionRequest.model_validate(fields).model_dump(exclude_unset=True, mode="json")
        return Request(json.dumps({**body, **(self.extra or {})}).encode(), tokens, limit)


def read_dataset(path: Path) -> tuple[Mapping[str, Any], ...]:
    """Requests of a file: a JSON object a line, with ``prompt`` or ``messages`` and, if it likes, ``output_tokens``.

    Raises:
        BadDataset: The file does not hold that.
    """
    rows = []
    number = 0
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                number += 1
                if not line.strip():
                    continue
                row = json.loads(line)
                messages = row.get("messages") or [{"role": "user", "content": row["prompt"]}]
                CreateChatCompletionRequest(model="m", messages=messages, max_tokens=row.get("output_tokens", 1))
                rows.append({**row, "messages": messages})
                if len(rows) > _MOST_ROWS:
                    msg = f"{path}: more than {_MOST_ROWS} rows"
                    raise BadDataset(msg)
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: {error}"
        raise BadDataset(msg) from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        msg = f"{path}, line {number}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise BadDataset(msg) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, BadDataset):
            raise
        msg = f'{path}, line {number}: not a JSON object with "prompt" or "messages" ({error})'
        raise BadDataset(msg) from error
    if not rows:
        msg = f"{path}: no rows"
        raise BadDataset(msg)
    return tuple(rows)
