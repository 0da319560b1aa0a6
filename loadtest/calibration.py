"""How wrong our own clock readings are: streams whose every chunk says when it was sent, at the load of the run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import IO, Any, cast

from specserve.loadtest.budget import Caps
from specserve.loadtest.distributions import Distribution
from specserve.loadtest.engine import Engine, quiet
from specserve.loadtest.plan import Plan, Shape
from specserve.loadtest.prompts import Prompts
from specserve.loadtest.sample import Sample
from specserve.loadtest.statistics import describe

MEDIAN, P99 = 0.002, 0.005
"""Seconds that an error may have in the median, and in the 99th percentile."""

_WINDOWS = (3.0, 15.0)
"""Seconds to measure for, and once more for if a machine that was busy elsewhere let too few answers come."""
_FEWEST_ANSWERS = 3
_SHORTEST_ANSWER, _LONGEST_ANSWER = 0.3, 2.0
_ANSWERS = 10
"""First tokens that the first window should have: where few streams are open at once, their answers are shorter."""
_PATIENCE = 120.0


@contextmanager
def stub(first: float, gap: float) -> Iterator[str]:
    """A stub in a process of its own, at its base address."""
    command = [sys.executable, "-m", "specserve.loadtest.stub", "--first", str(first), "--gap", str(gap)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603  # our own module
    told, held = cast("IO[bytes]", process.stdout), cast("IO[bytes]", process.stdin)
    try:
        yield f"http://127.0.0.1:{int(told.readline())}/v1"
    finally:
        held.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        told.close()


def like(plan: Plan, stages: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Measure the error at the pace, and with as many streams at once, as the busiest stage of a run had."""
    served = [stage for stage in stages if "ttft_token" in stage["latency"]]
    if not served:
        return None
    busiest = max(served, key=lambda stage: stage["in_flight"]["mean"])
    latency = busiest["latency"]
    users = max(round(busiest["in_flight"]["mean"]), plan.processes)
    longest = min(max(_WINDOWS[0] * users / _ANSWERS, _SHORTEST_ANSWER), _LONGEST_ANSWER)
    first = min(latency["ttft_token"]["p50"], longest / 2)
    gap = latency["itl"]["mean"] if "itl" in latency else 0.02
    tokens = max(min(round(busiest["tokens"]["output"]["mean"]), round(longest / max(gap, 1e-4))), 2)
    found = None
    for window in _WINDOWS:
        found = _measured_apart(users, plan.processes, tokens, first, gap, window) or found
        if found and found["requests"] >= _FEWEST_ANSWERS:
            break
    return found


def _measured_apart(*arguments: float) -> dict[str, Any] | None:
    """Measure in a process of its own: one that has led a run cannot well have children that send in another."""
    command = [sys.executable, "-m", "specserve.loadtest.calibration", *map(str, arguments)]
    try:
        done = subprocess.run(command, check=True, capture_output=True, timeout=_PATIENCE)  # noqa: S603  # our own
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure(plan: Plan, first: float, gap: float, window: float = _WINDOWS[0]) -> dict[str, Any]:
    """Run a plan's load against the stub and compare with the moments that it wrote."""
    with stub(first, gap) as url:
        calm = replace(
            plan,
            base_url=url,
            model="stub",
            api_key=None,
            shape=Shape.STEADY,
            loads=plan.loads[-1:],
            prompt=Distribution("fixed", 64),
            dataset=None,
            extra=None,
            shared_prefix=0,
            warmup=first + gap * plan.output.first + 0.5,
            duration=window,
            timeout=30.0,
            caps=Caps(),
            objectives=(),
            limit_field="max_tokens",
            usage=True,
        )
        prompts = Prompts("stub", calm.prompt, calm.output, calm.seed, "calibration")
        engine = Engine(calm, prompts)
        try:
            conductor = engine.run(lambda _text: None, lambda _conductor: None)
        finally:
            engine.close()
    stage, record = conductor.stages[0], conductor.records[0]
    samples = [sample for sample in record.samples if record.holds(sample.due) and sample.ok]
    events = sum(record.holds(at) for sample in record.samples for at in sample.tokens_at) / record.window
    return {
        "load": calm.loads[0],
        "unit": calm.unit,
        "pace": {"first": first, "gap": gap, "tokens": calm.output.first},
        "chunks_per_s": events,
        "generator": stage["generator"],
        **errors(samples),
    }


def errors(samples: Sequence[Sample]) -> dict[str, Any]:
    """Absolute errors, in seconds, of first tokens and of gaps, by what the stub says of when it sent each chunk."""
    firsts: list[float] = []
    gaps: list[float] = []
    for sample in samples:
        truth = sample.stamps
        if len(truth) == len(sample.tokens_at) and truth:
            firsts.append(abs(sample.tokens_at[0] - truth[0]))
            true_gaps = (later - earlier for earlier, later in pairwise(truth))
            gaps += [abs(gap - true) for gap, true in zip(sample.gaps(), true_gaps, strict=True)]
    found = {"first_token": describe(firsts), "gap": describe(gaps), "requests": len(samples)}
    rows = [row for row in (found["first_token"], found["gap"]) if isinstance(row, dict)]
    within = len(rows) == 2 and all(row["p50"] <= MEDIAN and row["p99"] <= P99 for row in rows)
    return {**found, "within": within, "allowed": {"p50": MEDIAN, "p99": P99}}


def _main(users: str, processes: str, tokens: str, first: str, gap: str, window: str) -> None:
    quiet()
    output = Distribution("fixed", int(tokens))
    plan = Plan("http://127.0.0.1/v1", "", (float(users),), open_loop=False, output=output, processes=int(processes))
    json.dump(measure(plan, float(first), float(gap), float(window)), sys.stdout)


if __name__ == "__main__":
    _main(*sys.argv[1:])
