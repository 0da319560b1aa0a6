"""Judge a run by what was known before: only what is new is red, and so is what is known and no longer true."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specserve.conformance.report.document import FORMAT
from specserve.conformance.statuses import BLOCKING, Exit, Status
from specserve.conformance.target import BadTarget


@dataclass(frozen=True)
class Comparison:
    """What differs from the baseline: ids of requirements that are newly broken, and of entries that are stale."""

    new: tuple[str, ...]
    stale: tuple[str, ...]

    def exit_code(self, document: Mapping[str, Any]) -> int:
        """What the command ends with. A fault of the kit is never known before."""
        if document["counts"][Status.ERROR.value]:
            return int(Exit.KIT_ERROR)
        if self.stale:
            return int(Exit.NOT_CONFORMANT)
        if not self.new:
            return int(Exit.CONFORMANT)
        by_id = {row["id"]: row["status"] for row in document["requirements"]}
        hard = any(by_id[name] in {Status.FAIL, Status.SILENT} for name in self.new)
        return int(Exit.NOT_CONFORMANT if hard else Exit.INCONCLUSIVE)


def read_results(path: Path) -> dict[str, Any]:
    """A ``results.json``.

    Raises:
        BadTarget: It is none, or of another format.
    """
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT or not isinstance(document["requirements"], list):
            msg = f"{path}: results of format {document['format']}, this kit reads {FORMAT}"
            raise BadTarget(msg)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, BadTarget):
            raise
        msg = f"{path}: no results of this kit ({error})"
        raise BadTarget(msg) from error
    return document


def compare(document: Mapping[str, Any], baseline: Mapping[str, Any]) -> Comparison:
    """Hold a run against an earlier one."""
    before = {row["id"]: row["status"] for row in baseline["requirements"]}
    now = {row["id"]: row["status"] for row in document["requirements"]}
    new = tuple(name for name, status in now.items() if status in BLOCKING and before.get(name) not in BLOCKING)
    met = {Status.PASS.value, Status.WARN.value, Status.UNSUPPORTED.value}
    stale = tuple(name for name, status in before.items() if status in BLOCKING and now.get(name) in met)
    return Comparison(new, stale)
