"""The project's goals of speed, and what the figures beside the page say of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from side_by_side import Spread

_PROMPT = "30"  # words: what the goals beside other engines are about


@dataclass(frozen=True)
class Goal:
    """One line of the table.

    Attributes:
        what: Which ratio, or what else is counted.
        wanted: The goal in words.
        found: What was measured, as it is printed.
        reached: Whether the median is as wanted.
    """

    what: str
    wanted: str
    found: str
    reached: bool


def goals(figures: Mapping[str, Mapping[str, Any]]) -> Iterator[Goal]:
    """Those that have figures.

    Args:
        figures: Benchmark -> what it wrote.
    """
    if found := figures.get("http_layer"):
        yield _at_least("HTTP layer, plain: requests/s over FastAPI's", found["plain"]["ratio"], 1.2)
        yield _at_least("HTTP layer, streamed: events/s over bare Starlette's", found["streamed"]["ratio"], 1.0)
    if found := figures.get("gateway"):
        yield _at_least("gateway, plain: requests/s over LiteLLM's", found["plain"]["ratio"], 10)
        yield _at_least("gateway, streamed: requests/s over LiteLLM's", found["streamed"]["ratio"], 20)
    if found := figures.get("engine"):
        yield from _engine(found)
    if found := figures.get("server_tax"):
        for row in found["rows"]:
            yield _at_least(f"tokens/s over the engine's alone, {row['concurrency']} at once", row["ratio"], 0.95)
    if found := figures.get("growth"):
        last = found["open_streams"][-1]
        reached = last["served"] >= last["size"] and last["stream_kb"] < 100
        said = f"{last['served']:,} served, {last['stream_kb']:.0f} KB"
        yield Goal(f"{last['size']:,} open streams on `echo`", "all served, under 100 KB each", said, reached)


def _engine(found: Mapping[str, Any]) -> Iterator[Goal]:
    rows = {row["concurrency"]: row["ratios"] for row in found["rows"] if row["prompt"] == _PROMPT}
    for peer, key, what, wanted in (
        ("llama-server", "tokens_per_second", "tokens/s", {1: 1.0, 8: 1.8, 32: 2.6}),
        ("llama-server", "first_token_p50", "first token p50", {1: 0.4, 32: 0.1}),
        ("transformers serve", "tokens_per_second", "tokens/s", {1: 4, 8: 4, 32: 4}),
    ):
        for count, goal in wanted.items():
            if peer in rows.get(count, {}):
                check = _at_most if what.startswith("first") else _at_least
                yield check(f"{what} over {peer}'s, {count} at once", rows[count][peer][key], goal)
    servers = found["servers"]
    if "llama-server" in servers:
        ratio = servers["specserve"]["start_seconds"] / servers["llama-server"]["start_seconds"]
        yield Goal("warm start to first token over llama-server's", "at most 1.5", f"{ratio:.2f}", ratio <= 1.5)


def _at_least(what: str, ratio: Mapping[str, float], goal: float) -> Goal:
    return Goal(what, f"at least {goal:g}", f"{Spread(**ratio):.2f}", ratio["median"] >= goal)


def _at_most(what: str, ratio: Mapping[str, float], goal: float) -> Goal:
    return Goal(what, f"at most {goal:g}", f"{Spread(**ratio):.2f}", ratio["median"] <= goal)
