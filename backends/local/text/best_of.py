"""More answers than are returned: the likeliest of them are."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from specserve.backends.local.text.answer import Answer, Delta


async def best(
    steps: AsyncGenerator[list[Delta], None], candidates: Sequence[Answer], n: int, first: int
) -> AsyncGenerator[list[Delta], None]:
    """The deltas of the `n` likeliest candidates, the likeliest first, when all are finished.

    Args:
        steps: What the candidates gain.
        candidates: Answers to one prompt, with log-probabilities.
        n: How many to return.
        first: Index of the first choice that is returned.
    """
    gained: dict[int, list[Delta]] = {candidate.index: [] for candidate in candidates}
    async with aclosing(steps):
        async for deltas in steps:
            for delta in deltas:
                gained[delta.index].append(delta)
    ranked = sorted(candidates, key=_likelihood, reverse=True)
    for index, candidate in enumerate(ranked[:n], start=first):
        yield [replace(delta, index=index) for delta in gained[candidate.index]]


def _likelihood(answer: Answer) -> float:
    """Log-probability per token; an answer of no tokens tells none, and comes last."""
    return answer.logprob / answer.completion_tokens if answer.completion_tokens else float("-inf")
