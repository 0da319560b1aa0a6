"""What the HTTP layer costs: ours on `echo` without pace, beside FastAPI (plain answers) and bare Starlette (streams).

    tox run -e benchmarks -- http_layer [--rounds N] [--seconds S] [--connections N]

Every server has one worker, on a processor of its own where there are two; the answers have the same bytes, but for
ids. FastAPI's application uses our generated models for request and response and does nothing else; Starlette's reads
the JSON and sends it back in events. Beside rates it tells the processor time of a request, which other work on the
machine disturbs less. Ours does all that it does in production: validation against the contract, refusal
of what has no effect, limits, a log line (to nowhere), a queue, cancellation.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from client import Sample, load, once
from plots import ratio_bars
from side_by_side import Spread, bind_to_core, free_port, machine, processor_seconds, ratios, server, write

APPS = Path(__file__).parent / "apps"
CONVERSATION = [
    {"role": "system", "content": "You are a helpful assistant who answers in one short sentence and never guesses."},
    {"role": "user", "content": "What is the capital of France, and how many people live there at present?"},
    {"role": "assistant", "content": "The capital of France is Paris, where about two million people live."},
]
PARAMETERS = {"model": "echo", "temperature": 0.7, "top_p": 0.95, "seed": 7, "user": "benchmark"}


def body(characters: int, **more: object) -> bytes:
    """A request of four messages; the answer has so many characters."""
    last = {"role": "user", "content": ("And what of the others? " * characters)[:characters]}
    return json.dumps({**PARAMETERS, "messages": [*CONVERSATION, last], **more}).encode()


PLAIN = body(120, max_tokens=512)
STREAMED = body(200, max_tokens=512, stream=True)
EVENTS = 200 // 2 + 3


def comparable(answer: bytes) -> bytes:
    """An answer without what differs by chance."""
    answer = re.sub(rb'"(id|created|prompt_tokens|total_tokens)":("[^"]*"|\d+)', b"", answer)
    return re.sub(rb"[\s,]", b"", answer)


@dataclass(frozen=True)
class Side:
    """A server that runs.

    Attributes:
        url: Of its chat completions.
        pid: Of its process.
        costs: Microseconds of processor time a request took, in each round.
    """

    url: str
    pid: int
    costs: list[float] = field(default_factory=list)


async def compare(sides: dict[str, Side], request: bytes, arguments: argparse.Namespace) -> dict[str, list[Sample]]:
    """Ask each in turns, the first round being a warm-up that does not count."""
    answers = {name: comparable(await once(side.url, request)) for name, side in sides.items()}
    if len(set(answers.values())) != 1:
        raise SystemExit("the answers differ:\n" + "\n".join(f"{name}: {text!r}" for name, text in answers.items()))
    found: dict[str, list[Sample]] = {name: [] for name in sides}
    for number in range(arguments.rounds + 1):
        for name, side in sides.items():
            seconds = arguments.seconds if number else min(1.0, arguments.seconds)
            before = processor_seconds(side.pid)
            sample = await load(side.url, request, connections=arguments.connections, seconds=seconds)
            if number:
                found[name].append(sample)
                side.costs.append((processor_seconds(side.pid) - before) / len(sample.latencies) * 1e6)
                print(
                    f"  round {number}/{arguments.rounds}  {name:12} {sample.per_second:9.0f} requests/s",
                    file=sys.stderr,
                )
    return found


def told(found: dict[str, list[Sample]], sides: dict[str, Side], each: int) -> dict[str, Any]:
    """Figures per second of every side, and ours over the other's; in processor time the other's over ours."""
    (ours, ours_found), (peer, peer_found) = found.items()
    rates = {name: [sample.per_second * each for sample in samples] for name, samples in found.items()}
    ratio = ratios(rates[ours], rates[peer])
    return {
        "ratio": vars(ratio),
        "processor_ratio": vars(ratios(sides[peer].costs, sides[ours].costs)),
        "processor_us": {name: vars(Spread.of(side.costs)) for name, side in sides.items()},
        "per_second": {name: vars(Spread.of(figures)) for name, figures in rates.items()},
        "latency_ms": {
            name: {"p50": _percentile(samples, 50), "p99": _percentile(samples, 99)}
            for name, samples in ((ours, ours_found), (peer, peer_found))
        },
    }


def _percentile(samples: list[Sample], percent: int) -> float:
    latencies = sorted(latency for sample in samples for latency in sample.latencies)
    return round(latencies[min(len(latencies) - 1, len(latencies) * percent // 100)] * 1000, 3)


def main() -> None:
    """Start all three, compare, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each side in each round")
    parser.add_argument("--connections", type=int, default=16)
    arguments = parser.parse_args()
    found = {"machine": machine(), "arguments": vars(arguments)}
    ours, fastapi, starlette = free_port(), free_port(), free_port()
    uvicorn = [sys.executable, "-m", "uvicorn", "--app-dir", str(APPS), "--no-access-log", "--log-level", "warning"]
    uvicorn += ["--loop", "uvloop", "--http", "httptools"]
    bind_to_core(1)
    with (
        server([sys.executable, "-m", "specserve", "serve", "--model", "echo", "--port", str(ours)], ours, core=0) as a,
        server([*uvicorn, "fastapi_app:app", "--port", str(fastapi)], fastapi, core=0) as b,
        server([*uvicorn, "starlette_app:app", "--port", str(starlette)], starlette, core=0) as c,
    ):
        kinds = {
            "plain": (PLAIN, 1, {"specserve": (ours, a), "FastAPI": (fastapi, b)}),
            "streamed": (STREAMED, EVENTS, {"specserve": (ours, a), "Starlette": (starlette, c)}),
        }
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            for kind, (request, each, running) in kinds.items():
                sides = {
                    name: Side(f"http://127.0.0.1:{port}/v1/chat/completions", pid)
                    for name, (port, pid) in running.items()
                }
                found[kind] = told(runner.run(compare(sides, request, arguments)), sides, each)
    for name, unit in (("plain", "requests/s over FastAPI's"), ("streamed", "events/s over bare Starlette's")):
        processor = Spread(**found[name]["processor_ratio"])
        print(f"{unit:32} {Spread(**found[name]['ratio']):.2f}; in processor time {processor:.2f}")
    path = write("http_layer", found)
    ratio_bars(
        path,
        {
            "plain answers: requests/s over FastAPI's": (found["plain"]["ratio"], 1.2),
            "streams: events/s over bare Starlette's": (found["streamed"]["ratio"], 1.0),
        },
    )


if __name__ == "__main__":
    main()
