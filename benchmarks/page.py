"""Writes docs/performance/README.md from the figures that lie beside it: ``tox run -e benchmarks -- page``.

A benchmark that has left no figures has no part in the page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from goals import goals
from side_by_side import RESULTS, Spread, read

_HEAD = """# Performance

<!-- Made by `tox run -e benchmarks -- page` from the JSON files here; do not edit. -->

Every figure is a ratio of two sides that took turns on one machine in one run: the median over the rounds, with the
least and the most in brackets. Absolute figures say little about other machines; they are in the JSON files. What is
compared, and why that is fair, is told in [benchmarks/README.md](../../benchmarks/README.md); what stands in the way of
the goals that are not reached, in [limits.md](limits.md).
"""


def _spread(found: dict[str, float], digits: int = 2) -> str:
    return f"{Spread(**found):.{digits}f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def _http_layer(found: dict[str, Any]) -> str:
    rows = [
        (what, _spread(found[kind]["ratio"]), goal, _spread(found[kind]["processor_ratio"]))
        for kind, what, goal in (
            ("plain", "plain answers, requests/s over FastAPI's", "1.2"),
            ("streamed", "streams, events/s over bare Starlette's", "1.0"),
        )
    ]
    head = ("", "Ratio", "Goal", "In processor time")
    return f"## HTTP layer\n\n{_table(head, rows)}\n![HTTP layer](http_layer.svg)\n"


def _gateway(found: dict[str, Any]) -> str:
    rows = [
        (
            f"{kind}, requests/s over LiteLLM's",
            _spread(found[kind]["ratio"], 1),
            str(found[kind]["goal"]),
            _spread(found[kind]["processor_ratio"], 1),
        )
        for kind in ("plain", "streamed")
    ]
    head = ("", "Ratio", "Goal", "In processor time")
    return f"## Gateway\n\n{_table(head, rows)}\n![Gateway](gateway.svg)\n"


def _engine(found: dict[str, Any]) -> str:
    peer = found["peer"]
    parts = [f"## Engine, beside {peer}\n\nOurs over its; of tokens/s more is better, of times less.\n"]
    for ours in found["rows"][0]["ratios"]:
        rows = [
            (
                "shared beginning" if row["prompt"] == "shared" else f"{row['prompt']} words",
                str(row["concurrency"]),
                str(row["rounds"]),
                *(
                    _spread(row["ratios"][ours][key])
                    for key in ("tokens_per_second", "first_token_p50", "first_token_p99", "gap_p50", "gap_p99")
                ),
            )
            for row in found["rows"]
        ]
        head = ("Prompt", "At once", "Rounds", "Tokens/s", "First token p50", "p99", "Gap p50", "p99")
        parts.append(f"{ours}:\n\n{_table(head, rows)}")
    parts.append(f"![Engine](engine_{peer.replace(' ', '_').replace('-', '_')}.svg)\n")
    servers = [
        (name, f"{told['start_seconds']:.1f} s", f"{told['memory_bytes'] / 2**20:.0f} MiB")
        for name, told in found["servers"].items()
    ]
    parts.append(_table(("", "Warm start to first token", "Most memory"), servers))
    return "\n".join(parts)


def _server_tax(found: dict[str, Any]) -> str:
    rows = [(str(row["concurrency"]), _spread(row["ratio"]), "0.95") for row in found["rows"]]
    head = ("At once", "Tokens/s through HTTP over the engine's alone", "Goal")
    return f"## Server tax\n\n{_table(head, rows)}\n![Server tax](server_tax.svg)\n"


def _growth(found: dict[str, Any]) -> str:
    rows = [
        (
            name.replace("_", " "),
            f"{row['size']:,}",
            f"{row['requests_per_second']['median']:.0f}",
            f"{row['latency_ms']['50']} ms",
            f"{row['latency_ms']['99']} ms",
            f"{row['body_bytes']:,}",
        )
        for name in ("streams", "prompt_tokens", "messages")
        for row in found[name]
    ]
    head = ("What grows", "To", "Requests/s", "p50", "p99", "Bytes of body")
    opened = [
        (
            f"{row['size']:,}",
            f"{row['served']:,}",
            f"{row['latency_ms']['50'] / 1000:.2f} s",
            f"{row['latency_ms']['99'] / 1000:.2f} s",
            f"{row['memory_mib']:.0f} MiB",
            f"{row['stream_kb']:.0f} KB" if "stream_kb" in row else "",
        )
        for row in found["open_streams"]
    ]
    open_head = ("Open at once", "Served", "p50", "p99", "Most memory", "A stream")
    return (
        f"## Growth\n\nOf `echo`, absolute.\n\n{_table(head, rows)}\n![Growth](growth.svg)\n\n"
        f"Streams that are all open at once, 25 tokens each at 5 a second:\n\n{_table(open_head, opened)}"
    )


_BUSY = "\nThe machine was busy with other work meanwhile: of the tokens/s only the least and the most say something.\n"


def _precision(found: dict[str, Any]) -> str:
    rows = [
        (
            row["name"],
            f"{row['kullback_leibler']:.1g}" if row["kullback_leibler"] > 1e-9 else "0",
            f"{row['same_likeliest']:.1%}",
            f"{row['other_answers']} of 12",
            _spread(row["ratio_alone"]),
            _spread(row["ratio_beside"]),
        )
        for row in found["rows"]
    ]
    head = (
        "",
        "Nats from exact",
        "Same likeliest token",
        "Answers that differ beside 8",
        "Tokens/s alone",
        "beside 8",
    )
    about = found["machine"]
    absent = "".join(f"\n* {each['name']}: {each['reason']}" for each in found["absent"])
    return (
        '## Precision\n\nWhat each part of `precision = "fast"` costs in exactness and gives in speed, on the default '
        f"model; tokens/s over those of the exact one. Over {found['arguments']['tokens']:,} tokens that the model "
        f"wrote itself. This processor has {', '.join(about['instructions']) or 'no instructions of interest'}.\n\n"
        f"{_table(head, rows)}"
        + (f"\nNot measured, since this processor does not have it:\n{absent}\n" if absent else "")
        + (_BUSY if about["load_before"] and about["load_before"] > 1 else "")
        + "\nOn a processor with AMX, measured elsewhere: exact answers had 1.0 / 0.8 / 0.6 of bf16's tokens/s at 1 / "
        "8 / 32 at once; with bf16, 8 of 12 greedy answers were other ones when asked again, exactly none.\n\n"
        "![Precision](precision.svg)\n"
    )


def _machine(found: dict[str, Any]) -> str:
    about = found["machine"]
    return f"{about['processor']}, {about['cores']} cores, Python {about['python']}, load before {about['load_before']}"


PARTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "http_layer": _http_layer,
    "gateway": _gateway,
    "engine_llama_server": _engine,
    "engine_transformers_serve": _engine,
    "server_tax": _server_tax,
    "growth": _growth,
    "precision": _precision,
}


def main() -> None:
    """Write the page."""
    figures = {name: read(name) for name in PARTS if (RESULTS / f"{name}.json").exists()}
    rows = [(goal.what, goal.wanted, goal.found, "yes" if goal.reached else "no") for goal in goals(figures)]
    parts = [_HEAD, f"## Goals\n\n{_table(('', 'Goal', 'Measured', 'Reached'), rows)}"]
    for name, found in figures.items():
        after = f", after `{found['earlier_command']}`" if "earlier_command" in found else ""
        rounds = f"rounds: {found['arguments']['rounds']}"
        parts.append(f"{PARTS[name](found)}\n`{found['command']}`{after}; {rounds}; {_machine(found)}.\n")
    page = RESULTS / "README.md"
    page.write_text("\n".join(parts))
    print(page)


if __name__ == "__main__":
    main()
