"""Grammars of the numbers between two bounds."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from specserve.backends.local.grammars.grammar import Chars, Node, Repeat, choice, optional, row

if TYPE_CHECKING:
    from specserve.backends.local.grammars.grammar import Rules

MOST_DIGITS = 15
_DIGIT = Chars(((ord("0"), ord("9")),))
_MOST_MULTIPLES = 256
_LARGEST_STEP = 64


def integers(least: int | None, most: int | None) -> Node | None:
    """Integers between inclusive bounds, as far as 15 digits go; None if there are none, or the bounds go further."""
    limit = 10**MOST_DIGITS - 1
    low, high = (-limit if least is None else least), (limit if most is None else most)
    if low > high or low < -limit or high > limit:
        return None
    parts: list[Node] = []
    if low < 0:
        parts.append(row("-", _naturals(max(1, -high), -low)))
    if high >= 0:
        parts.append(_naturals(max(0, low), high))
    return choice(parts)


def multiples(step: int, least: int | None, most: int | None, rules: Rules) -> Node | None:
    """Multiples of `step` between inclusive bounds; None if these can not be told in few rules."""
    if least is not None and most is not None:
        first, last = -(-least // step), most // step
        if not 0 <= last - first < _MOST_MULTIPLES:
            return None
        return choice([str(step * factor) for factor in range(first, last + 1)])
    if step > _LARGEST_STEP or most is not None or (least is not None and not -step < least <= 0):
        return None
    # One rule for each remainder: what may follow the digits so far.
    names = [rules.new("rest") for _ in range(step)]
    for remainder, name in enumerate(names):
        following: list[Node] = [row(str(digit), names[(10 * remainder + digit) % step]) for digit in range(10)]
        rules.set(name, choice([*following, ""] if remainder == 0 else following))
    positive = choice([row(str(digit), names[digit % step]) for digit in range(1, 10)])
    return choice(["0", row(optional("-"), positive) if least is None else positive])


def numbers(least: Decimal | None, most: Decimal | None, *, above: bool, below: bool) -> Node | None:
    """Numbers between bounds, without exponents; None if there are none, or they need more than 15 digits.

    Args:
        least: The lower bound.
        most: The upper bound.
        above: Whether the lower bound itself is excluded.
        below: Whether the upper bound itself is excluded.
    """
    limit = Decimal(10**MOST_DIGITS - 1)
    low, high = (-limit if least is None else least), (limit if most is None else most)
    places = max(_places(low), _places(high))
    if abs(low) > limit or abs(high) > limit or places > MOST_DIGITS:
        return None
    if above or below:
        places = min(places + 2, MOST_DIGITS)
    # From here on in units of the last place.
    bottom, top = int(low.scaleb(places)) + above, int(high.scaleb(places)) - below
    if bottom > top:
        return None
    parts: list[Node] = []
    if bottom < 0:
        parts += [row("-", part) for part in _magnitudes(max(1, -top), -bottom, places)]
    if top >= 0:
        parts += _magnitudes(max(0, bottom), top, places)
    return choice(parts) if parts else None


def _magnitudes(low: int, high: int, places: int) -> list[Node]:
    """Positive decimals between bounds that are given in units of the last place."""
    unit = 10**places
    first, last = low // unit, high // unit
    if first == last:
        return [row(str(first), _fractions(low % unit, high % unit, places))]
    parts: list[Node] = []
    if low % unit:
        parts.append(row(str(first), _fractions(low % unit, unit - 1, places)))
        first += 1
    if first < last:
        any_fraction = optional(row(".", Repeat(_DIGIT, 1, MOST_DIGITS)))
        parts.append(row(_naturals(first, last - 1), any_fraction))
    parts.append(row(str(last), _fractions(0, high % unit, places)))
    return parts


def _fractions(low: int, high: int, places: int) -> Node:
    """What may follow a whole number so that its fraction, in units of the last place, lies between bounds."""
    parts: list[Node] = [""] if low == 0 else []
    for digits in range(1, max(places, 1) + 1):
        unit = 10 ** (places - digits) if digits <= places else 1
        first, last = -(-low // unit), high // unit
        if first <= last:
            parts.append(row(".", _digits(str(first).zfill(digits), str(last).zfill(digits))))
    return choice(parts)


def _naturals(low: int, high: int) -> Node:
    """Whole numbers between bounds, without leading zeros."""
    parts = []
    for digits in range(len(str(low)), len(str(high)) + 1):
        smallest = 0 if digits == 1 else 10 ** (digits - 1)
        parts.append(_digits(str(max(low, smallest)), str(min(high, 10**digits - 1))))
    return choice(parts)


def _digits(low: str, high: str) -> Node:
    """Strings of digits between two of the same length."""
    if not low:
        return ""
    size = len(low) - 1
    if low == "0" * len(low) and high == "9" * len(high):
        return Repeat(_DIGIT, len(low), len(low))
    if low[0] == high[0]:
        return row(low[0], _digits(low[1:], high[1:]))
    parts: list[Node] = []
    first, last = int(low[0]), int(high[0])
    if low[1:] != "0" * size:
        parts.append(row(low[0], _digits(low[1:], "9" * size)))
        first += 1
    tail: list[Node] = []
    if high[1:] != "9" * size:
        tail.append(row(high[0], _digits("0" * size, high[1:])))
        last -= 1
    if first <= last:
        parts.append(row(_span(first, last), Repeat(_DIGIT, size, size) if size else ""))
    return choice([*parts, *tail])


def _span(first: int, last: int) -> Node:
    return str(first) if first == last else Chars(((ord("0") + first, ord("0") + last),))


def _places(number: Decimal) -> int:
    exponent = number.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else MOST_DIGITS + 1
