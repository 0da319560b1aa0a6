"""Writes the tables of backends' options into the docs: ``python -m specserve.made_docs.options [--check] [FILE...]``.

A table stands between ``<!-- options of package.module:Class -->`` and ``<!-- end of options -->``.
"""

from __future__ import annotations

import importlib
import json
import re

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from specserve.spec.made_docs import command

_TABLE = re.compile(r"(<!-- options of ([\w.]+):(\w+) -->\n).*?(<!-- end of options -->\n)", re.DOTALL)


def rewrite(text: str) -> str:
    """Put the current tables between their markers."""
    return _TABLE.sub(lambda found: f"{found[1]}\n{_table(found[2], found[3])}\n{found[4]}", text)


def _table(module: str, name: str) -> str:
    options: type[BaseModel] = getattr(importlib.import_module(module), name)
    rows = [f"| `{key}` | {_default(field)} | {field.description} |\n" for key, field in options.model_fields.items()]
    return "| Option | Default | Meaning |\n|---|---|---|\n" + "".join(rows)


def _default(field: FieldInfo) -> str:
    """A default, unless there is none or one that is as good as none."""
    value = None if field.is_required() else field.get_default(call_default_factory=True)
    nothing = value is None or isinstance(value, BaseModel) or (not value and isinstance(value, str | list | dict))
    return "" if nothing else f"`{json.dumps(value)}`"


main = command(rewrite, "docs/*.md", says="Write the tables of options into FILES, by default all of docs/.")

if __name__ == "__main__":
    main()
