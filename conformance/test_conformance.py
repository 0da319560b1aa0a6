"""Judge the server that ``--base-url`` names: ``pytest --pyargs specserve.conformance --base-url ...``."""

from __future__ import annotations

import warnings

import pytest

from specserve.conformance.evidence import shown
from specserve.conformance.judge import Outcome
from specserve.conformance.statuses import BLOCKING, Status


def test_requirement(conformance_requirement: str, conformance_outcomes: dict[str, Outcome]) -> None:
    """The server does what the requirement says."""
    outcome = conformance_outcomes[conformance_requirement]
    told = [f"{name}: expected {found.expected}; found {shown(found.actual)}" for name, found in outcome.findings]
    text = "\n".join([outcome.requirement.text, *told, outcome.reason]).strip()
    if outcome.status in {Status.SKIP, Status.UNSUPPORTED, Status.NOT_RUN}:
        pytest.skip(f"{outcome.status}: {outcome.reason}")
    if outcome.status in BLOCKING:
        pytest.fail(f"{outcome.status}: {text}", pytrace=False)
    if outcome.status is Status.WARN:
        warnings.warn(f"WARN: {text}", stacklevel=1)
