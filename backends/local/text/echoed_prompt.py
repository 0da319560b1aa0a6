"""The prompt in front of its continuation, as `echo` asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from specserve.backends.local.text.answer import Delta, ScoredToken
from specserve.backends.local.tokens.detokenizer import Detokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specserve.backends.local.engine import Alternatives, Tokenizer


@dataclass(frozen=True)
class EchoedPrompt:
    """A prompt that is to be repeated.

    Attributes:
        text: What to repeat.
        tokens: The prompt's tokens.
        ranks: Log-probability and alternatives of each but the first, when they are known; None if nobody asked.
    """

    text: str
    tokens: Sequence[int]
    ranks: list[tuple[float, Alternatives]] | None = None

    def delta(self, index: int, tokenizer: Tokenizer, alternatives: int | None) -> Delta:
        """What a choice begins with."""
        scored = [] if self.ranks is None else self._scored(tokenizer, alternatives or 0)
        return Delta(index, self.text, scored, None)

    def _scored(self, tokenizer: Tokenizer, alternatives: int) -> list[ScoredToken]:
        ranks = [(None, []), *(self.ranks or ())]
        names = {token_id: name for name, token_id in tokenizer.control_tokens.items()}
        detokenizer = Detokenizer()
        scored = []
        start = 0
        for token_id, (logprob, others) in zip(self.tokens, ranks, strict=True):
            data = tokenizer.token_bytes(token_id)
            name = "" if data else names.get(token_id, "")
            # A control token may stand in the text by its name, or have been put before it.
            written = len(name) if self.text.startswith(name, start) else 0
            end = min(len(self.text), start + len(detokenizer.push(data)) + written)
            scored.append(ScoredToken(token_id, logprob, others[:alternatives], start, end))
            start = end
        return scored
