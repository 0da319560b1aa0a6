"""Strings and numbers as a schema limits them."""

from __future__ import annotations

import math
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING

from specserve.backends.local.grammars.analysis import width
from specserve.backends.local.grammars.grammar import row
from specserve.backends.local.grammars.json_numbers import integers, multiples, numbers
from specserve.backends.local.grammars.regex import FORMATS, Pattern, UnsupportedPatternError, read_pattern
from specserve.backends.local.grammars.schema_reading import MOST_COUNTED, NUMBER

if TYPE_CHECKING:
    from specserve.backends.local.grammars.grammar import Node, Rules
    from specserve.backends.local.grammars.json_text import JSONText
    from specserve.backends.local.grammars.schema_reading import Place, Schema

_WIDEST_PATTERNS = 30  # what is before and what is behind may both fit, which takes engines longer


class Scalars:
    """Makes the rules of the strings and numbers of one schema; None stands for what nothing conforms to.

    Args:
        rules: Where the rules go.
        json: The rules of JSON among them.
    """

    def __init__(self, rules: Rules, json: JSONText) -> None:
        self._rules = rules
        self._json = json
        self._pattern_width = 0

    def string(self, flat: Schema, place: Place) -> Node | None:
        """Strings with these limits, pattern or format."""
        least, most = int(flat.get("minLength", 0)), flat.get("maxLength")
        if max(least, most or 0) > MOST_COUNTED:
            raise place.unsupported("maxLength" if "maxLength" in flat else "minLength", "it is too large")
        most = None if most is None else int(most)
        if most is not None and most < least:
            return None
        if "pattern" not in flat and "format" not in flat:
            return self._json.string(least, most)
        if "pattern" in flat and "format" in flat:
            raise place.unsupported("format", "it stands beside 'pattern'")
        name = "pattern" if "pattern" in flat else "format"
        pattern = self._pattern(flat, name, place)
        if pattern.single is not None:
            part, fewest, longest = pattern.single
            fewest, longest = max(fewest, least), longest if most is None else min(most, longest or most)
            if longest is not None and longest < fewest:
                return None
            return row('"', self._rules.counted(part, fewest, longest), '"')
        if pattern.least < least or (most is not None and (pattern.most is None or pattern.most > most)):
            raise place.unsupported(name, "it allows other lengths than the schema's limits")
        return self._rules.add("pattern", row('"', pattern.node, '"'))

    def _pattern(self, flat: Schema, name: str, place: Place) -> Pattern:
        source: str = flat[name]
        if name == "format":
            if source not in FORMATS:
                raise place.unsupported("format", f"known are {', '.join(sorted(FORMATS))}")
            source = f"^(?:{FORMATS[source]})$"
        before = len(self._rules.rules)
        try:
            pattern = read_pattern(source, self._rules)
        except UnsupportedPatternError as error:
            raise place.unsupported(name, f"it has {error}") from error
        if name == "pattern":
            added = islice(self._rules.rules.values(), before, None)
            self._pattern_width += width([*added, pattern.node], self._rules.rules)
        if self._pattern_width > _WIDEST_PATTERNS:
            raise place.unsupported(name, "there are too many wide repetitions")
        return pattern

    def number(self, flat: Schema, place: Place, *, whole: bool) -> Node | None:
        """Numbers, or integers, between these bounds."""
        if not any(name in flat for name in NUMBER):
            return self._json.integer if whole else self._json.number
        bounds = {name: Decimal(str(flat[name])) for name in NUMBER if name in flat}
        least, above = max(
            ((bounds[name], name == "exclusiveMinimum") for name in ("minimum", "exclusiveMinimum") if name in bounds),
            default=(None, False),
        )
        most, below = min(
            ((bounds[name], name != "exclusiveMaximum") for name in ("maximum", "exclusiveMaximum") if name in bounds),
            default=(None, True),
        )
        below = not below
        if least is not None and most is not None and (least > most or (least == most and (above or below))):
            return None
        step = bounds.get("multipleOf")
        if not whole and step is None:
            made = numbers(least, most, above=above, below=below)
            if made is None:
                raise place.unsupported("minimum" if "minimum" in flat else next(iter(bounds)), "too many digits")
            return made
        first = None if least is None else math.floor(least) + 1 if above else math.ceil(least)
        last = None if most is None else math.ceil(most) - 1 if below else math.floor(most)
        if first is not None and last is not None and first > last:
            return None
        if step is not None and step != 1:
            made = multiples(int(step), first, last, self._rules) if step == int(step) else None
            if made is None:
                raise place.unsupported("multipleOf", "only few multiples, or those of a small integer")
            return made
        made = integers(first, last)
        if made is None:
            raise place.unsupported(next(iter(bounds)), "too many digits")
        return made
