"""What an extra of this package brings, read from its own metadata."""

from __future__ import annotations

import importlib.metadata
import re


def modules_of(extra: str) -> set[str]:
    """The modules that an extra brings, which all are named like their distributions."""
    requirements = importlib.metadata.requires("specserve") or []
    marker = re.compile(rf"extra\s*==\s*['\"]{re.escape(extra)}['\"]")
    names = (re.match(r"[\w.-]+", requirement) for requirement in requirements if marker.search(requirement))
    return {name[0].replace("-", "_").lower() for name in names if name}
