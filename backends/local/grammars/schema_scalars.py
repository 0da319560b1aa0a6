"""Strings and numbers as a schema limits them."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING

from specserve.backends.local.grammars.formats import FORMATS
from specserve.backends.local.grammars.grammar import row
from specserve.backends.local.grammars.json_numbers import integers, multiples, numbers
from specserve.backends.local.grammars.regex import text_of
from specserve.backends.local.grammars.regex_tree import TooComplexPatternError, UnsupportedPatternError, read_regex
from specserve.backends.local.grammars.schema_reading import MOST_COUNTED, NUMBER, TooComplexSchema

if TYPE_CHECKING:
    from specserve.backends.local.grammars.grammar import Node, Rules
    from specserve.backends.local.grammars.json_text import JSONText
    from specserve.backends.local.grammars.regex_tree import Tree
    from specserve.backends.local.grammars.schema_reading import Place, Schema

_STATES_OF_BOTH = 300  # of a format and a pattern together; with more, the pattern alone is held to


_EXACT = 2**53


class Scalars:
    """Makes the rules of the strings and numbers of one schema; None stands for what nothing conforms to.

    Args:
        rules: Where the rules go.
        json: The rules of JSON among them.
        strict: See `schema_grammar`.
    """

    def __init__(self, rules: Rules, json: JSONText, *, strict: bool = True) -> None:
        self._rules = rules
        self._json = json
        self._strict = strict

    def string(self, flat: Schema, place: Place) -> Node | None:
        """Strings with these limits, patterns and format."""
        least, most = int(flat.get("minLength", 0)), flat.get("maxLength")
        if self._strict and max(least, most or 0) > MOST_COUNTED:
            raise place.unsupported("maxLength" if "maxLength" in flat else "minLength", "it is too large")
        least = min(least, MOST_COUNTED)
        most = None if most is None or most > MOST_COUNTED else int(most)
        if most is not None and most < least:
            return None
        patterns = self._patterns(flat.get("pattern", ()), place)
        form = self._format(flat, place)
        if not patterns and form is None:
            return self._json.string(least, most)
        node = self._text(patterns, form, least, most, place)
        return None if node is None else self._rules.add("text", row('"', node, '"'))

    def _patterns(self, sources: str | tuple[str, ...], place: Place) -> list[Tree]:
        """The expressions; if they need not all be held to, those that can be."""
        trees = []
        for source in (sources,) if isinstance(sources, str) else sources:
            try:
                trees.append(read_regex(source))
            except UnsupportedPatternError as error:
                if self._strict or isinstance(error, TooComplexPatternError):
                    raise place.unsupported("pattern", f"it has {error}") from error
        return trees

    def _format(self, flat: Schema, place: Place) -> Tree | None:
        source = flat.get("format")
        if source in FORMATS:
            return read_regex(f"^(?:{FORMATS[source]})$")
        # An annotation. Where nothing else says what is meant, a strict schema relies on it.
        if source is not None and self._strict and "pattern" not in flat:
            raise place.unsupported("format", f"known are {', '.join(sorted(FORMATS))}")
        return None

    def _text(self, patterns: list[Tree], form: Tree | None, least: int, most: int | None, place: Place) -> Node | None:
        if form is not None and patterns:
            try:
                both = text_of([*patterns, form], self._rules, least, most, _STATES_OF_BOTH)
            except UnsupportedPatternError:
                both = None
            if both is not None:
                return both
        trees = patterns or [form] if form is not None else patterns
        name = "pattern" if patterns else "format"
        try:
            return text_of(trees, self._rules, least, most)
        except TooComplexPatternError as error:
            if not self._strict and patterns and form is not None:
                return self._text([], form, least, most, place)
            if least or most is not None:
                return self._without_length(trees, place, name)
            raise TooComplexSchema(place / name, f"is too complex: its '{name}' has {error}") from error
        except UnsupportedPatternError as error:
            if self._strict:
                raise place.unsupported(name, f"it has {error}") from error
            return self._json_text(least, most)

    def _without_length(self, trees: list[Tree], place: Place, name: str) -> Node | None:
        """The expressions alone, where their automaton with limits of length would be too large."""
        if self._strict:
            raise place.unsupported(name, "it allows other lengths than the schema's limits")
        try:
            return text_of(trees, self._rules)
        except UnsupportedPatternError as error:
            raise TooComplexSchema(place / name, f"is too complex: its '{name}' has {error}") from error

    def _json_text(self, least: int, most: int | None) -> Node:
        return self._rules.counted(self._json.character, least, most)

    def number(self, flat: Schema, place: Place, *, whole: bool) -> Node | None:
        """Numbers, or integers, between these bounds."""
        if not any(name in flat for name in NUMBER):
            return self._json.integer if whole else self._json.number
        bounds = {name: _exact(flat[name]) for name in NUMBER if name in flat}
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
        places = 15
        if step is not None and not whole and step < 1 and step == Decimal(1).scaleb(step.adjusted()):
            places, step = -step.adjusted(), None  # decimals with so many digits
        if not whole and step is None:
            made = numbers(least, most, above=above, below=below, most_places=min(places, 15))
            return made or self._loosely(place, bounds)
        first = None if least is None else math.floor(least) + 1 if above else math.ceil(least)
        last = None if most is None else math.ceil(most) - 1 if below else math.floor(most)
        if first is not None and last is not None and first > last:
            return None
        if step is None or step == 1 or (whole and (1 / step) % 1 == 0):
            return integers(first, last)
        made = multiples(int(step), first, last, self._rules) if step == int(step) else None
        if made is not None:
            return made
        if self._strict:
            raise place.unsupported("multipleOf", "only few multiples, or those of a small integer")
        return integers(first, last) if whole else numbers(least, most, above=above, below=below)

    def _loosely(self, place: Place, bounds: dict[str, Decimal]) -> Node:
        if self._strict:
            raise place.unsupported(next(iter(bounds)), "no number of at most 15 digits behind the point is within")
        return self._json.number


def _exact(value: float) -> Decimal:
    """The number that a JSON text with it means: its digits, or beyond what these tell, the double itself."""
    return Decimal(value) if abs(value) >= _EXACT else Decimal(str(value))
