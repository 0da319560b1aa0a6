"""Streamed requests, timed: when the first token came, how far apart the others, how many in all."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

_PATIENCE = aiohttp.ClientTimeout(total=600)


@dataclass
class Answer:
    """One stream.

    Attributes:
        sent: Seconds on a steady clock when the request went out.
        times: When each event with text came.
        tokens: As counted by the server, in `usage`.
        prompt_tokens: Likewise.
    """

    sent: float
    times: list[float] = field(default_factory=list)
    tokens: int = 0
    prompt_tokens: int = 0

    @property
    def first_token(self) -> float:
        """Seconds until the first text came."""
        return self.times[0] - self.sent

    @property
    def gaps(self) -> list[float]:
        """Seconds between the events with text."""
        return [later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)]


@dataclass
class Round:
    """Requests that were open side by side.

    Attributes:
        seconds: From the first byte sent to the last received.
        answers: All of them.
    """

    seconds: float
    answers: list[Answer]

    @property
    def tokens_per_second(self) -> float:
        """Of all together."""
        return sum(answer.tokens for answer in self.answers) / self.seconds

    def first_token(self, percent: int) -> float:
        """Percentile in seconds."""
        return percentile([answer.first_token for answer in self.answers], percent)

    def gap(self, percent: int) -> float:
        """Percentile in seconds."""
        return percentile([gap for answer in self.answers for gap in answer.gaps], percent)


def percentile(figures: Sequence[float], percent: int) -> float:
    """The least figure that is not below so many percent of them (nearest rank); 0 of none."""
    ordered = sorted(figures)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else 0.0


async def ask_together(url: str, bodies: Sequence[dict[str, Any]]) -> Round:
    """Send all requests at once and read them to their ends.

    Raises:
        RuntimeError: An answer was not a stream with usage.
    """
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=_PATIENCE) as session:
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_ask(session, url, body)) for body in bodies]
        return Round(time.perf_counter() - begun, [task.result() for task in tasks])


async def _ask(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> Answer:
    asked = {**body, "stream": True, "stream_options": {"include_usage": True}}
    answer = Answer(time.perf_counter())
    async with session.post(url, json=asked) as response:
        if response.status != 200:
            raise RuntimeError(f"{url}: {response.status} {(await response.text())[:500]}")
        async for line in response.content:
            now = time.perf_counter()
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[6:])
            usage = chunk.get("usage")
            if usage:
                answer.tokens, answer.prompt_tokens = usage["completion_tokens"], usage["prompt_tokens"]
            if any(
                choice.get("text") or choice.get("delta", {}).get("content") for choice in chunk.get("choices") or ()
            ):
                answer.times.append(now)
    if not answer.times or not answer.tokens:
        raise RuntimeError(f"{url}: the stream had no text or no usage")
    return answer
