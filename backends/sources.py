"""What the source of a backend's models can be, as far as its text tells.

Each backend declares it as `SOURCES` in its package (or module), beside what opens a model; see `table.py`. Declaring
it must import nothing that the base install lacks.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")


class Sources(NamedTuple):
    """What one backend loads.

    Attributes:
        schemes: What can stand before a colon at the beginning of a source, such as ``hf`` in ``hf:org/name``.
        suffixes: Endings of files, which are no part of the name of a model; in lower case, with the dot.
        needed: Whether a model needs a source at all.
    """

    schemes: frozenset[str] = frozenset()
    suffixes: frozenset[str] = frozenset()
    needed: bool = True


def scheme_of(source: str) -> str:
    """What stands before the first colon of a source, if it could be a scheme; else nothing."""
    found = _SCHEME.match(source)
    return found[1] if found else ""
