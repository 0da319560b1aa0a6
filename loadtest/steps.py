"""Which load comes next: the next of a list, or the next step of a sweep towards the knee."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from specserve.loadtest.judgement import knee
from specserve.loadtest.plan import Plan, Shape

_REFINEMENTS = 2


def next_load(plan: Plan, stages: Sequence[Mapping[str, Any]]) -> float | None:
    """The load of the next stage, given those that are judged; None if there is none.

    A sweep doubles the load until it is too much, or halves it until it is not, and then halves the distance twice.
    """
    done = len(stages)
    if plan.shape is Shape.STEADY:
        return None
    if plan.shape is Shape.STAGES:
        return plan.loads[done] if done < len(plan.loads) else None
    if done >= plan.steps or not stages[-1]["requests"]["succeeded"]:
        return None
    good = knee(stages)
    bad = [stage["load"] for stage in stages if not stage["good"]]
    if not bad:
        return float(stages[-1]["load"]) * 2
    if good is None:
        lower = _whole(plan, min(bad) / 2)
        return lower if lower < min(bad) else None
    bracketed = next(at for at in range(done) if _both(stages[: at + 1]))
    if done - 1 - bracketed >= _REFINEMENTS:
        return None
    above = [load for load in bad if load > good]
    load = _whole(plan, (good * min(above)) ** 0.5) if above else good
    return load if above and good < load < min(above) else None


def _both(stages: Sequence[Mapping[str, Any]]) -> bool:
    return len({bool(stage["good"]) for stage in stages}) == 2


def _whole(plan: Plan, load: float) -> float:
    """A load as people write it; users are whole, and each process has one."""
    return float(f"{load:.3g}") if plan.open_loop else float(max(int(load), plan.processes))
