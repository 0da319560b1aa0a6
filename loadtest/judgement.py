"""From figures to verdicts: whether a stage was too much, whether we could be trusted, and whether objectives hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from specserve.loadtest.plan import Plan, Shape

MOST_CPU = 0.9
_MOST_ERRORS = 0.01

EXIT = {"measured": 0, "met": 0, "missed": 1, "inconclusive": 3}


def judge(plan: Plan, stage: dict[str, Any], previous: Mapping[str, Any] | None) -> None:
    """Add to a stage's figures what they mean: ``saturated``, ``doubts``, ``warnings`` and ``objectives``."""
    stage["saturated"] = _saturated(plan, stage, previous)
    stage["doubts"] = _doubts(plan, stage)
    stage["warnings"] = _warnings(stage)
    stage["objectives"] = [objective.judge(stage) for objective in plan.objectives]
    stage["good"] = (
        not stage["saturated"]
        and not stage["doubts"]
        and stage["requests"]["succeeded"] > 0
        and stage["rates"]["errors"] <= _MOST_ERRORS
        and all(row["status"] == "met" for row in stage["objectives"])
    )


def _saturated(plan: Plan, stage: Mapping[str, Any], previous: Mapping[str, Any] | None) -> str:
    """Why a stage was more than the server could do; empty if it was not."""
    if plan.open_loop:
        requests, flights = stage["requests"], stage["in_flight"]
        if requests["not_sent"]:
            return f"{requests['not_sent']} requests could not be sent: {plan.most_in_flight} were in flight"
        growth = flights["last"] - flights["first"]
        if growth > 0.1 * requests["due"] + 2 * math.sqrt(flights["mean"]) + 1:
            return f"requests in flight grew from {flights['first']} to {flights['last']}"
        return ""
    if previous is None or stage["load"] <= previous["load"]:
        return ""
    before, now = (one["rates"]["output_tokens_per_s"] for one in (previous, stage))
    added = stage["load"] / previous["load"] - 1
    if before and now / before - 1 < 0.1 * added:
        return f"{stage['load']:g} users get {now:.0f} tokens/s, {previous['load']:g} got {before:.0f}"
    return ""


def _doubts(plan: Plan, stage: Mapping[str, Any]) -> list[str]:
    """Why the figures cannot be trusted, for reasons of our own."""
    found = []
    generator = stage["generator"]
    lag = generator["schedule_lag"]
    if lag and lag["p99"] > plan.most_lag:
        found.append(
            f"sending was behind the schedule: p99 {lag['p99'] * 1000:.1f} ms, allowed {plan.most_lag * 1000:g} ms"
        )
    if generator["cpu"] > MOST_CPU:
        found.append(f"a sending process used {generator['cpu']:.0%} of a core: use more --processes")
    if not stage["requests"]["succeeded"]:
        found.append("no request succeeded")
    return found


def _warnings(stage: Mapping[str, Any]) -> list[str]:
    found = []
    tokens, latency, seconds = stage["tokens"], stage["latency"], stage["seconds"]
    if tokens["without_usage"]:
        found.append(f"{tokens['without_usage']} answers had no usage: their chunks were counted as tokens")
    offered = stage["rates"]["offered_per_s"]
    if offered is not None and abs(offered / stage["load"] - 1) > 0.2:
        found.append(f"the arrivals that were drawn make {offered:.3g} requests/s: a longer --duration comes nearer")
    if "e2e" in latency and latency["e2e"]["p50"] > seconds["warmup"]:
        found.append(
            f"the warm-up of {seconds['warmup']:.1f} s is shorter than a request ({latency['e2e']['p50']:.1f} s): "
            "the window holds the start of the load"
        )
    limit, output = tokens["output_limit"], tokens["output"]
    if output and output["mean"] < 0.9 * limit["mean"]:
        found.append(f"answers were shorter than asked for: {output['mean']:.0f} of {limit['mean']:.0f} tokens")
    return found


def knee(stages: Sequence[Mapping[str, Any]]) -> float | None:
    """The highest load that was good."""
    return max((stage["load"] for stage in stages if stage["good"]), default=None)


def verdict(plan: Plan, stages: Sequence[Mapping[str, Any]], stopped: str) -> tuple[str, list[str]]:
    """``met``, ``missed``, ``inconclusive``, or ``measured`` where there was nothing to meet; and why."""
    if stopped:
        return "inconclusive", [stopped]
    if not stages:
        return "inconclusive", ["no stage was run"]
    if plan.shape is Shape.SWEEP:
        # The last stages of a sweep are meant to be too much.
        if not any(stage["good"] for stage in stages):
            why = [doubt for stage in stages for doubt in stage["doubts"]]
            return ("inconclusive", why) if why else ("missed", ["no load was good"])
        return ("met" if plan.objectives else "measured"), []
    doubts = [f"{stage['load']:g} {stage['unit']}: {doubt}" for stage in stages for doubt in stage["doubts"]]
    if doubts:
        return "inconclusive", doubts
    rows = [(stage, row) for stage in stages for row in stage["objectives"]]
    for status, name in (("missed", "missed"), ("undecided", "inconclusive")):
        why = [
            f"{stage['load']:g} {stage['unit']}: {row['objective']} {row['reason'] or status}"
            for stage, row in rows
            if row["status"] == status
        ]
        if why:
            return name, why
    return ("met" if rows else "measured"), []
