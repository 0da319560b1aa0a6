"""What the server costs: tokens per second through HTTP over those of the engine alone, in a process without a server.

    tox run -e benchmarks -- server_tax [--rounds N] [--concurrency 1 8 32]

Both have the same weights, options and prompts, which are token ids of chance, and make the same number of tokens
greedily; the one as streams with an event for every token, the other as lists of token ids. They take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from plots import ratio_bars
from side_by_side import Spread, free_port, machine, ratios, server, write
from streams import ask_together

MODEL = "smollm2-135m-instruct"
WORDS = range(1000, 40000)  # token ids that are pieces of words
GOAL = 0.95


@contextmanager
def engine_alone(options: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """The engine in a process of its own, which reads orders; see `apps/engine_alone.py`."""
    command = [sys.executable, "-m", "specserve", "models", "path", MODEL]
    path = Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    weights = next(path.glob("*.gguf")) if path.is_dir() else path
    program = Path(__file__).parent / "apps" / "engine_alone.py"
    with subprocess.Popen(
        [sys.executable, str(program), str(weights), json.dumps(options)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        _line(process)
        yield process
        cast("IO[str]", process.stdin).close()


def alone(process: subprocess.Popen[str], prompts: Sequence[Sequence[int]], tokens: int) -> float:
    """Tokens per second of the engine."""
    print(json.dumps({"prompts": prompts, "tokens": tokens}), file=process.stdin, flush=True)
    done = _line(process)
    return float(done["tokens"] / done["seconds"])


def through_http(url: str, prompts: Sequence[Sequence[int]], tokens: int) -> float:
    """Tokens per second through the server."""
    bodies = [
        {"model": MODEL, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
        for prompt in prompts
    ]
    return asyncio.run(ask_together(url, bodies)).tokens_per_second


def _line(process: subprocess.Popen[str]) -> dict[str, Any]:
    line = cast("IO[str]", process.stdout).readline()
    if not line:
        raise SystemExit("the engine alone has ended")
    return cast("dict[str, Any]", json.loads(line))


def main() -> None:
    """Start both, compare, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--prompt-tokens", type=int, default=60)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    port = free_port()
    url = f"http://127.0.0.1:{port}/v1/completions"
    command = [sys.executable, "-m", "specserve", "serve", "--model", MODEL, "--port", str(port)]
    rows = []
    with server(command, port), engine_alone({}) as engine:
        through_http(url, [[1]], 1)  # waits until the model is there
        for count in arguments.concurrency:
            generator = random.Random(count)
            http, engines = [], []
            for number in range(arguments.rounds + 1):
                prompts = [generator.choices(WORDS, k=arguments.prompt_tokens) for _ in range(count)]
                rates = through_http(url, prompts, arguments.tokens), alone(engine, prompts, arguments.tokens)
                if number:  # the first is a warm-up
                    http.append(rates[0])
                    engines.append(rates[1])
                    print(
                        f"  {count:2} at once, round {number}/{arguments.rounds}   through HTTP {rates[0]:6.0f}"
                        f"   the engine alone {rates[1]:6.0f} tokens/s",
                        file=sys.stderr,
                    )
            rows.append(
                {
                    "concurrency": count,
                    "through_http": vars(Spread.of(http)),
                    "engine_alone": vars(Spread.of(engines)),
                    "ratio": vars(ratios(http, engines)),
                }
            )
    path = write("server_tax", {"machine": machine(), "arguments": vars(arguments), "rows": rows})
    for row in rows:
        print(f"{row['concurrency']:3} at once: tokens/s through HTTP over the engine's {Spread(**row['ratio']):.2f}")
    ratio_bars(path, {f"{row['concurrency']} at once": (row["ratio"], GOAL) for row in rows})


if __name__ == "__main__":
    main()
