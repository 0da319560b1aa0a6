"""The JSON of a generated model with holes: made once of the model, filled for each request.

What changes from one answer of a model to the next is a handful of values. Building and encoding the models around
them took a fifth of the time of a short answer.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

from specserve.backends.construct import encode

if TYPE_CHECKING:
    from typing import Any

    from pydantic import BaseModel

_MARK = secrets.token_hex(16)  # nobody can put it into the name of a model
_HOLE = re.compile(rb'"%b (\w+)"' % _MARK.encode())


def hole(name: str) -> Any:
    """Stands for a value of any type that is not known yet."""
    return f"{_MARK} {name}"


def stencil(model: BaseModel) -> bytes:
    """The JSON of a model that has holes, to be filled with JSON: ``stencil(model) % {b"name": b"value"}``."""
    return _HOLE.sub(rb"%(\1)b", encode(model).replace(b"%", b"%%"))
