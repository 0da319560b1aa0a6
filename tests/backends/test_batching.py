"""Batches of inputs for an embedding model, without a model."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from typing import Any

import pytest

from specserve.backends.local.vectors.batching import Batcher, Work, take_batch


def test_batches_keep_every_input_once_and_stay_in_bounds() -> None:
    chooser = random.Random(3)

    async def run() -> None:
        works = [Work([[1] * chooser.randint(1, 600) for _ in range(40)], "float") for _ in range(10)]
        queue, seen = deque(works), []
        while queue:
            turn = queue[0]
            batch = take_batch(queue, 512)
            lengths = [len(work.rows[place]) for work, place in batch]
            assert batch[0][0] is turn
            assert len(batch) == 1 or len(batch) * max(lengths) <= 512
            assert max(lengths) <= 2 * min(lengths)
            seen += batch
        assert sorted((works.index(work), place) for work, place in seen) == [
            (w, p) for w in range(10) for p in range(40)
        ]

    asyncio.run(run())


@pytest.mark.parametrize("answer", [[], ["one", "too", "many"]], ids=["too few", "too many"])
def test_a_batch_with_the_wrong_number_of_vectors_fails_its_request_and_not_the_next(answer: list[str]) -> None:
    async def go() -> list[str]:
        answers = [answer, ["right"]]

        async def run(_rows: object) -> list[Any]:
            return answers.pop(0)

        batcher = Batcher(run, 100)
        with pytest.raises(ValueError, match="zip"):
            await batcher.vectors([[1]], "float")
        return await batcher.vectors([[1]], "float")  # type: ignore[return-value]

    assert asyncio.run(asyncio.wait_for(go(), 30)) == ["right"]
