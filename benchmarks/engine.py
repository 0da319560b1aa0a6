"""The default model beside what a user would pick instead: llama-server with the same file, `transformers serve`.

    tox run -e benchmarks -- engine --llama-server PROGRAM
    tox run -e benchmarks -- engine --transformers PYTHON --weights FOLDER

Tokens per second, time to the first token, gaps, most memory, start-up: at each concurrency, for short prompts, long
ones and ones that share a long beginning. Every request has 128 tokens of answer, whatever the model would rather say.
All servers run at the same time and are asked in turns; those that are not asked do nothing. Ours runs twice: as it
comes, and with `dynamic_quantization`, which rounds activations to 8 bits as llama.cpp does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from plots import ratio_lines
from side_by_side import Spread, free_port, machine, ratios, read, server, write
from streams import Round, ask_together

MODEL = "smollm2-135m-instruct"
WORDS = Path(__file__).with_name("words.txt")
CONTEXT = 2048
OURS = "specserve"
ROUNDED = "specserve with dynamic_quantization"
LLAMA_SERVER = "llama-server"
TRANSFORMERS = "transformers serve"


@dataclass
class Side:
    """One server that runs.

    Attributes:
        url: Of its chat completions.
        model: What it calls the model.
        pid: Of the process that was started.
        takes_generation_config: Whether it wants to be told like transformers what to generate.
        started: Seconds from its start to the end of its first token.
        memory: Most bytes that it and its children held at the end of a round.
    """

    url: str
    model: str
    pid: int
    takes_generation_config: bool = False
    started: float = 0.0
    memory: int = 0

    def measure_memory(self) -> None:
        """Look how much it holds now; what processes share is counted once."""
        process = psutil.Process(self.pid)
        held = sum(each.memory_full_info().pss for each in [process, *process.children(recursive=True)])
        self.memory = max(self.memory, held)


def prompts(kind: str, count: int, generator: random.Random) -> list[str]:
    """Prompts that no cache knows, but for what they share on purpose."""
    if kind == "shared":
        shared = _words(750, random.Random("the same beginning for all"))  # about 1000 tokens
        return [f"{shared} {_words(20, generator)}" for _ in range(count)]
    return [_words(int(kind), generator) for _ in range(count)]


def _words(count: int, generator: random.Random) -> str:
    return " ".join(generator.choices(WORDS.read_text().split(), k=count))


def request(side: Side, prompt: str, tokens: int) -> dict[str, Any]:
    """A chat request that ends after so many tokens and not before."""
    asked = {"model": side.model, "messages": [{"role": "user", "content": prompt}], "max_tokens": tokens}
    if side.takes_generation_config:  # and refuses `ignore_eos`; no token has this id
        config = {"do_sample": False, "max_new_tokens": tokens, "eos_token_id": -1}
        return {**asked, "generation_config": json.dumps(config)}
    return {**asked, "temperature": 0, "ignore_eos": True}


@contextmanager
def started(name: str, command: list[str], port: int, model: str, **environ: str) -> Iterator[Side]:
    """A server that has answered once."""
    begun = time.perf_counter()
    with server(command, port, **environ) as pid:
        side = Side(f"http://127.0.0.1:{port}/v1/chat/completions", model, pid, name == TRANSFORMERS)
        while True:
            try:
                asyncio.run(ask_together(side.url, [request(side, "Hello", 1)]))
                break
            except* (RuntimeError, OSError):
                if time.perf_counter() - begun > 300:
                    raise
                time.sleep(0.05)
        side.started = time.perf_counter() - begun
        print(f"  {name}: first token {side.started:.1f} s after its start", file=sys.stderr)
        yield side


def sides(arguments: argparse.Namespace, stack: ExitStack) -> dict[str, Side]:
    """Start all, one after the other; each twice, since a first start may convert, and reads files from the disk."""

    def start(name: str, command: list[str], port: int, model: str, **environ: str) -> Side:
        with started(name, command, port, model, **environ):
            pass
        return stack.enter_context(started(name, command, port, model, **environ))

    found = {}
    for name, options in ((OURS, "{}"), (ROUNDED, "{ dynamic_quantization = true }")):
        config = Path(stack.enter_context(TemporaryDirectory())) / "specserve.toml"
        config.write_text(f'[[models]]\nid = "{MODEL}"\noptions = {options}\n')
        port = free_port()
        command = [sys.executable, "-m", "specserve", "serve", "--config", str(config), "--port", str(port)]
        found[name] = start(name, command, port, MODEL)
    port = free_port()
    if arguments.llama_server:
        libraries = str(arguments.llama_server.parent)
        command = llama_server(arguments, port)
        found[LLAMA_SERVER] = start(LLAMA_SERVER, command, port, MODEL, LD_LIBRARY_PATH=libraries)
    else:
        command = [str(arguments.transformers), "-m", "transformers.cli.transformers", "serve", "--port", str(port)]
        command += ["--host", "127.0.0.1", "--device", "cpu", "--continuous-batching", "--cb-max-memory-percent", "0.2"]
        command += [str(arguments.weights)]  # by default it takes nearly all memory for its KV cache
        found[TRANSFORMERS] = start(TRANSFORMERS, command, port, str(arguments.weights))
    return found


def llama_server(arguments: argparse.Namespace, port: int) -> list[str]:
    """Its command, with our file."""
    command = [sys.executable, "-m", "specserve", "models", "path", MODEL]
    path = Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    gguf, most = next(path.glob("*.gguf")) if path.is_dir() else path, max(arguments.concurrency)
    command = [str(arguments.llama_server), "--model", str(gguf), "--alias", MODEL, "--port", str(port)]
    return [*command, "--host", "127.0.0.1", "--parallel", str(most), "--ctx-size", str(CONTEXT * most), "--offline"]


def compare(found: dict[str, Side], kind: str, concurrency: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Rounds of so many requests at once, the servers taking turns; the last of them is the peer."""
    *_, peer = found
    generator = random.Random(f"{kind} {concurrency}")
    rounds: dict[str, list[Round]] = {name: [] for name in found}
    for number in range(arguments.rounds):
        for name, side in found.items():
            bodies = [request(side, text, arguments.tokens) for text in prompts(kind, concurrency, generator)]
            done = asyncio.run(ask_together(side.url, bodies))
            rounds[name].append(done)
            side.measure_memory()
            print(
                f"  {kind:>6} words, {concurrency:2} at once, round {number + 1}/{arguments.rounds}  {name:18}"
                f" {done.tokens_per_second:6.0f} tokens/s   first token {done.first_token(50):6.2f} s",
                file=sys.stderr,
            )
    figures = {
        name: {
            "tokens_per_second": [each.tokens_per_second for each in done],
            "first_token_p50": [each.first_token(50) for each in done],
            "first_token_p99": [each.first_token(99) for each in done],
            "gap_p50": [each.gap(50) for each in done],
            "gap_p99": [each.gap(99) for each in done],
        }
        for name, done in rounds.items()
    }
    return {
        "prompt": kind,
        "concurrency": concurrency,
        "rounds": arguments.rounds,
        "figures": {name: {key: vars(Spread.of(list_)) for key, list_ in of.items()} for name, of in figures.items()},
        "ratios": {
            ours: {key: vars(ratios(figures[ours][key], theirs)) for key, theirs in figures[peer].items()}
            for ours in (OURS, ROUNDED)
        },
    }


def kept(name: str, told: dict[str, Any]) -> dict[str, Any]:
    """What was measured now, among what was measured before: a long table can be measured in parts."""
    earlier = read(name)
    now = {(row["prompt"], row["concurrency"]): row for row in told["rows"]}
    places = [(row["prompt"], row["concurrency"]) for row in earlier["rows"]]
    rows = [now.pop(place, row) for place, row in zip(places, earlier["rows"], strict=True)]
    servers = {
        side: {**found, "memory_bytes": max(found["memory_bytes"], earlier["servers"][side]["memory_bytes"])}
        for side, found in told["servers"].items()
    }
    return {**told, "servers": servers, "rows": [*rows, *now.values()], "earlier_command": earlier["command"]}


def main() -> None:
    """Start, compare, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    peers = parser.add_mutually_exclusive_group(required=True)
    peers.add_argument("--llama-server", type=Path, help="the program of llama.cpp")
    peers.add_argument("--transformers", type=Path, help="a Python with transformers[serving]")
    parser.add_argument("--weights", type=Path, help="the same weights, for transformers")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 4, 8, 16, 32])
    parser.add_argument("--prompts", nargs="+", default=["30", "400", "shared"], help="words, or `shared`")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="keep rows of the last run that this one does not measure")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        found = sides(arguments, stack)
        for side in found.values():  # the first batch of a size compiles and reserves
            asyncio.run(ask_together(side.url, [request(side, text, 8) for text in prompts("30", 4, random.Random(1))]))
        rows = [compare(found, kind, count, arguments) for kind in arguments.prompts for count in arguments.concurrency]
        servers = {name: {"start_seconds": side.started, "memory_bytes": side.memory} for name, side in found.items()}
    *_, peer = found
    told = {"machine": machine(), "arguments": _plain(vars(arguments)), "peer": peer, "servers": servers, "rows": rows}
    name = f"engine_{peer.replace(' ', '_').replace('-', '_')}"
    path = write(name, kept(name, told) if arguments.keep else told)
    print(f"over {peer}: tokens/s, and first token at the median (less is better); then the same, {ROUNDED}")
    for row in rows:
        spreads = [
            f"{Spread(**row['ratios'][ours][key]):.2f}"
            for ours in (OURS, ROUNDED)
            for key in ("tokens_per_second", "first_token_p50")
        ]
        print(f"  {row['prompt']:>6} words {row['concurrency']:3} at once   {'   '.join(spreads)}")
    ratio_lines(path, peer, [{**row, "ratios": row["ratios"][OURS]} for row in read(name)["rows"]])
    for name, side in servers.items():
        memory = side["memory_bytes"] / 2**20
        print(f"{name:36} start to first token {side['start_seconds']:.1f} s, memory {memory:.0f} MiB")


def _plain(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value.name if isinstance(value, Path) else value for name, value in arguments.items()}


if __name__ == "__main__":
    main()
