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
    if found := figures.get("engine_llama_server"):
        yield from _engine(found, "tokens_per_second", "tokens/s", {1: 1.0, 8: 1.8, 32: 2.6})
        yield from _engine(found, "first_token_p50", "first token p50", {1: 0.4, 32: 0.1})
        ours, theirs = (found["servers"][name]["start_seconds"] for name in ("specserve", found["peer"]))
        said = f"{ours / theirs:.2f} ({ours:.1f} s over {theirs:.1f} s)"
        yield Goal("warm start to first token over llama-server's", "at most 1.5", said, ours / theirs <= 1.5)
    if found := figures.get("engine_transformers_serve"):
        yield from _engine(found, "tokens_per_second", "tokens/s", {1: 4, 8: 4, 32: 4})
    if found := figures.get("server_tax"):
        for row in found["rows"]:
            yield _at_least(f"tokens/s over the engine's alone, {row['concurrency']} at once", row["ratio"], 0.95)
    if found := figures.get("growth"):
        last = found["open_streams"][-1]
        reached = last["served"] >= last["size"] and last["stream_kb"] < 100
        said = f"{last['served']:,} served, {last['stream_kb']:.0f} KB"
        yield Goal(f"{last['size']:,} open streams on `echo`", "all served, under 100 KB each", said, reached)


def _engine(found: Mapping[str, Any], key: str, what: str, wanted: Mapping[int, float]) -> Iterator[Goal]:
    for row in found["rows"]:
        if row["prompt"] == _PROMPT and (goal := wanted.get(row["concurrency"])):
            for ours, ratios in row["ratios"].items():
                line = f"{what} over {found['peer']}'s, {row['concurrency']} at once"
                if len(ours.split()) > 1:
                    line += f", {ours.partition(' ')[2]}"
                yield (_at_most if key.startswith("first") else _at_least)(line, ratios[key], goal)


def _at_least(what: str, ratio: Mapping[str, float], goal: float) -> Goal:
    return Goal(what, f"at least {goal:g}", f"{Spread(**ratio):.2f}", ratio["median"] >= goal)


def _at_most(what: str, ratio: Mapping[str, float], goal: float) -> Goal:
    return Goal(what, f"at most {goal:g}", f"{Spread(**ratio):.2f}", ratio["median"] <= goal)
