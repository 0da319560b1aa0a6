"""How the server's own cost grows, on `echo` without pace: with open streams, with the prompt, with the body.

    tox run -e benchmarks -- growth [--rounds N] [--seconds S]

Open streams: so many that are all open at once, at 5 tokens a second each; the most memory that the server held
meanwhile, and what a stream takes of it. Streams: so many connections, each with a request of 100 tokens and the next
when that has ended. Prompts: one message of so many tokens, one token of answer. Bodies: so many messages, the last of
which is wrong: what is read, checked against the contract and refused, and nothing else.
The server has a processor of its own where there are two. There is no other side: these figures are of one machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import uvloop
from client import Sample, load
from plots import growth_lines
from side_by_side import Spread, bind_to_core, free_port, machine, server, write

STREAMS = (1, 10, 100, 300, 1000)
PROMPT_TOKENS = (100, 500, 1000, 2000, 4000, 8000)
MESSAGES = (1, 10, 100, 1000, 10_000)
CHARACTERS = 2  # of a token of `echo`
PACE = "tokens_per_second = 5"
PACED_TOKENS = 25
CONFIG = f"""
max_concurrent_requests = {max(STREAMS)}
[[models]]
id = "echo"
options = {{ context_length = {max(PROMPT_TOKENS) + 100} }}
[[models]]
id = "paced"
backend = "echo"
options = {{ {PACE} }}
"""


def stream() -> bytes:
    """A request for 100 tokens in events."""
    return _body("and so on " * 20, stream=True)


def slow_stream() -> bytes:
    """A request whose events take seconds."""
    return _body("and so on " * 20, model="paced", stream=True, max_tokens=PACED_TOKENS)


def prompt(tokens: int) -> bytes:
    """A request of about so many tokens, answered with one."""
    return _body("x " * (tokens * CHARACTERS // 2), max_tokens=1)


def wrong(messages: int) -> bytes:
    """A request of so many messages, the last of which has no content that anybody may send."""
    told = [{"role": "user", "content": "What is the capital of France, and how many live there?"}] * (messages - 1)
    return json.dumps({"model": "echo", "messages": [*told, {"role": "user", "content": 1}]}).encode()


def _body(content: str, **more: object) -> bytes:
    return json.dumps({"model": "echo", "messages": [{"role": "user", "content": content}], **more}).encode()


@contextmanager
def most_memory(pid: int) -> Iterator[list[int]]:
    """The most bytes that a process and its children held, looked at 20 times a second: the list's one item."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    found, done = [0], threading.Event()

    def look() -> None:
        while not done.wait(0.05):
            found[0] = max(found[0], sum(process.memory_info().rss for process in processes))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield found
    finally:
        done.set()
        looking.join()


def open_streams(run: Callable[..., Sample], pid: int) -> list[dict[str, Any]]:
    """So many streams that are open at the same time: how long they took, and what each took of memory."""
    rows: list[dict[str, Any]] = []
    for size in STREAMS:
        with most_memory(pid) as most:
            # Shorter than a stream takes: each connection asks once.
            sample = run(body=slow_stream(), connections=size, seconds=3.0)
        row = {"size": size, "served": len(sample.latencies), **told([sample]), "memory_mib": round(most[0] / 2**20, 1)}
        if rows:
            row["stream_kb"] = round((row["memory_mib"] - rows[0]["memory_mib"]) * 2**20 / 1000 / (size - 1), 1)
        print(f"  open streams {size:6}: {json.dumps(row)}", file=sys.stderr)
        rows.append(row)
    return rows


def told(samples: Sequence[Sample]) -> dict[str, Any]:
    """Figures of several rounds."""
    latencies = sorted(latency for sample in samples for latency in sample.latencies)
    return {
        "requests_per_second": vars(Spread.of([sample.per_second for sample in samples])),
        "latency_ms": {
            percent: round(latencies[min(len(latencies) - 1, len(latencies) * percent // 100)] * 1000, 2)
            for percent in (50, 99)
        },
    }


def grow(
    run: Callable[..., Sample], name: str, sizes: Sequence[int], measured: Callable[[int], dict[str, Any]], rounds: int
) -> list[dict[str, Any]]:
    """Each size in turn, several rounds of it.

    Args:
        run: Puts load on the server; takes what `measured` gives.
        name: Of what grows.
        sizes: How much of it.
        measured: What is asked at a size: the arguments of `client.load` but for the address and the seconds.
        rounds: Of each size, beside a warm-up.
    """
    rows = []
    for size in sizes:
        asked, samples = measured(size), []
        for number in range(rounds + 1):
            sample = run(**asked)
            if number:
                samples.append(sample)
        row = {"size": size, "body_bytes": len(asked["body"]), **told(samples)}
        print(f"  {name} {size:6}: {json.dumps(row)}", file=sys.stderr)
        rows.append(row)
    return rows


def main() -> None:
    """Start the server, measure, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each size in each round")
    arguments = parser.parse_args()
    port = free_port()
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    bind_to_core(1)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "growth.toml"
        config.write_text(CONFIG)
        command = [sys.executable, "-m", "specserve", "serve", "--config", str(config), "--port", str(port)]
        with (
            server(command, port, core=0) as pid,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):

            def run(*, seconds: float = arguments.seconds, **asked: Any) -> Sample:
                return runner.run(load(url, seconds=seconds, **asked))

            run(body=stream(), connections=16, seconds=1.0)
            rows = {
                # First, while the server holds nothing that other load has left.
                "open_streams": open_streams(run, pid),
                "streams": grow(
                    run,
                    "streams",
                    STREAMS,
                    lambda count: {"body": stream(), "connections": count},
                    arguments.rounds,
                ),
                "prompt_tokens": grow(
                    run,
                    "tokens",
                    PROMPT_TOKENS,
                    lambda tokens: {"body": prompt(tokens), "connections": 4},
                    arguments.rounds,
                ),
                "messages": grow(
                    run,
                    "messages",
                    MESSAGES,
                    lambda count: {"body": wrong(count), "connections": 4, "status": 400},
                    arguments.rounds,
                ),
            }
    path = write("growth", {"machine": machine(), "arguments": vars(arguments), **rows})
    for name, found in rows.items():
        for row in found:
            rate = Spread(**row["requests_per_second"])
            more = f", {row['body_bytes']:,} bytes" if "body_bytes" in row else f", {row['memory_mib']} MiB"
            print(f"{name:14} {row['size']:6}: {rate:8.1f} requests/s, p50 {row['latency_ms'][50]} ms{more}")
    growth_lines(path, {name: found for name, found in rows.items() if name != "open_streams"})


if __name__ == "__main__":
    main()
