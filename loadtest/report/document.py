"""The document that every report is made from; `results.json` holds it, `results.schema.json` describes it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import TYPE_CHECKING, Any

from specserve.loadtest.metrics import FORMULAS
from specserve.loadtest.sample import MEANING

if TYPE_CHECKING:
    from specserve.loadtest.run import Run

FORMAT = 1


def make(run: Run) -> dict[str, Any]:
    """Write a run down; the key is not in it."""
    plan = run.plan
    scale = run.prompts.scale
    return {
        "format": FORMAT,
        "tool": {"name": "specserve-loadtest", "version": importlib.metadata.version("specserve")},
        "machine": {"python": platform.python_version(), "system": platform.system(), "cpus": os.cpu_count()},
        "target": {"base_url": plan.url, "model": plan.model},
        "plan": {
            "loop": "open" if plan.open_loop else "closed",
            "unit": plan.unit,
            "loads": list(plan.loads),
            "shape": plan.shape.value,
            "arrivals": str(plan.arrivals) if plan.open_loop else None,
            "prompt_tokens": "of the file" if plan.dataset else str(plan.prompt),
            "output_tokens": str(plan.output),
            "shared_prefix": plan.shared_prefix,
            "duration": plan.duration,
            "warmup": plan.warmup,
            "timeout": plan.timeout,
            "caps": {"requests": plan.caps.requests, "tokens": plan.caps.tokens, "usd": plan.caps.usd},
            "objectives": [objective.text for objective in plan.objectives],
            "seed": plan.seed,
            "salt": run.prompts.salt,
            "processes": plan.processes,
            "most_in_flight": plan.most_in_flight,
            "most_lag": plan.most_lag,
            "usage": plan.usage,
            "extra": dict(plan.extra or {}),
        },
        "tokens_of_words": {"base": scale.base, "per_word": scale.per_word, "measured": scale.measured},
        "started": run.started.isoformat(timespec="seconds"),
        "seconds": round(run.seconds, 3),
        "spent": {
            "requests": int(run.spent[0]),
            "worst_case_tokens": int(run.spent[1]),
            "worst_case_usd": run.spent[2],
        },
        "verdict": run.verdict,
        "reasons": run.reasons,
        "exit_code": run.exit_code,
        "stopped": run.stopped or run.note,
        "knee": run.knee,
        "stages": run.stages,
        "calibration": run.calibration,
        "formulas": FORMULAS,
        "failures": {failure.value: meaning for failure, meaning in MEANING.items()},
    }
