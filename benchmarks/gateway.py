"""What a gateway costs: ours (`upstream`) beside LiteLLM's, before the same server that answers at once.

    tox run -e benchmarks -- gateway --litellm PROGRAM [--rounds N] [--seconds S] [--connections N]

PROGRAM is `litellm` of an environment with `litellm[proxy]`. Each gateway has one worker on a processor of its own; the
server behind and the client share the other. Without PROGRAM only ours is measured, beside asking the server directly.
Beside requests per second it tells the processor time of a request, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop
from client import Sample, load
from plots import ratio_bars
from side_by_side import Spread, bind_to_core, free_port, machine, processor_seconds, ratios, server, write

STUB = Path(__file__).parent / "apps" / "upstream_stub.py"
MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant who answers in one short sentence and never guesses."},
    {"role": "user", "content": "What is the capital of France, and how many people live there at present?"},
]
KINDS = {
    "plain": json.dumps({"model": "relayed", "messages": MESSAGES, "temperature": 0.7}).encode(),
    "streamed": json.dumps({"model": "relayed", "messages": MESSAGES, "stream": True}).encode(),
}
GOALS = {"plain": 10, "streamed": 20}


def ours(folder: Path, port: int, upstream: str) -> list[str]:
    """The command of our gateway."""
    config = folder / "specserve.toml"
    config.write_text(f'[[models]]\nid = "relayed"\nbackend = "upstream"\nsource = "{upstream}"\n')
    return [sys.executable, "-m", "specserve", "serve", "--config", str(config), "--port", str(port)]


def litellm(program: str, folder: Path, port: int, upstream: str) -> list[str]:
    """The command of LiteLLM's proxy; YAML reads JSON."""
    config = folder / "litellm.yaml"
    parameters = {"model": "openai/stub", "api_base": upstream, "api_key": "unused"}
    models = [{"model_name": "relayed", "litellm_params": parameters}]
    settings = {"dangerously_permit_weak_or_unset_master_key": True}  # neither side asks for a key
    config.write_text(json.dumps({"model_list": models, "general_settings": settings}))
    return [program, "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]


async def measure(
    urls: dict[str, str], pids: dict[str, int], body: bytes, arguments: argparse.Namespace
) -> tuple[dict[str, list[Sample]], dict[str, list[float]]]:
    """Ask each in turns; the first round is a warm-up that does not count. Samples, and milliseconds of a request."""
    found: dict[str, list[Sample]] = {name: [] for name in urls}
    costs: dict[str, list[float]] = {name: [] for name in urls}
    for number in range(arguments.rounds + 1):
        for name, url in urls.items():
            before = processor_seconds(pids[name])
            sample = await load(url, body, connections=arguments.connections, seconds=arguments.seconds)
            used = processor_seconds(pids[name]) - before
            if number:
                found[name].append(sample)
                costs[name].append(used / len(sample.latencies) * 1000)
                print(f"  round {number}  {name:10} {sample.per_second:8.1f} requests/s", file=sys.stderr)
    return found, costs


def main() -> None:
    """Start all, measure, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--litellm", metavar="PROGRAM")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each side in each round")
    parser.add_argument("--connections", type=int, default=16)
    arguments = parser.parse_args()
    found: dict[str, Any] = {"machine": machine(), "arguments": vars(arguments) | {"litellm": bool(arguments.litellm)}}
    ports = {name: free_port() for name in ("direct", "specserve", *(["litellm"] if arguments.litellm else []))}
    upstream = f"http://127.0.0.1:{ports['direct']}/v1"
    bind_to_core(1)
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        folder = Path(name)
        stub = [sys.executable, str(STUB), str(ports["direct"])]
        pids = {"direct": running.enter_context(server(stub, ports["direct"], core=1))}
        port = ports["specserve"]
        pids["specserve"] = running.enter_context(server(ours(folder, port, upstream), port, core=0))
        if arguments.litellm:
            port = ports["litellm"]
            command = litellm(arguments.litellm, folder, port, upstream)
            pids["litellm"] = running.enter_context(server(command, port, core=0))
        urls = {name: f"http://127.0.0.1:{port}/v1/chat/completions" for name, port in ports.items()}
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            for kind, body in KINDS.items():
                samples, costs = runner.run(measure(urls, pids, body, arguments))
                rates = {name: [sample.per_second for sample in several] for name, several in samples.items()}
                found[kind] = {
                    "per_second": {name: vars(Spread.of(several)) for name, several in rates.items()},
                    "processor_ms": {name: vars(Spread.of(several)) for name, several in costs.items()},
                }
                for side, several in rates.items():
                    cost = Spread.of(costs[side])
                    print(f"{kind:9} {side:10} {Spread.of(several):8.1f} requests/s, {cost:6.2f} ms of processor each")
                if arguments.litellm:
                    ratio = ratios(rates["specserve"], rates["litellm"])
                    found[kind] |= {"ratio": vars(ratio), "goal": GOALS[kind]}
                    less = ratios(costs["litellm"], costs["specserve"])
                    found[kind] |= {"processor_ratio": vars(less)}
                    print(f"{kind:9} ours over LiteLLM's {ratio:.1f}, goal {GOALS[kind]}; {less:.1f} in processor time")
    if arguments.litellm:
        path = write("gateway", found)
        ratio_bars(path, {kind: (found[kind]["ratio"], GOALS[kind]) for kind in KINDS})


if __name__ == "__main__":
    main()
