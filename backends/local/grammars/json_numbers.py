"""Grammars of the numbers between two bounds."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING

from specserve.backends.local.grammars.grammar import Chars, Node, Repeat, choice, optional, row

if TYPE_CHECKING:
    from specserve.backends.local.grammars.grammar import Rules

MOST_DIGITS = 15
_DIGIT = Chars(((ord("0"), ord("9")),))
_MOST_MULTIPLES = 256
_LARGEST_STEP = 64
_MOST_REMAINDERS = 80
_LONGEST = 24  # digits of an integer that are all written out


def integers(least: int | None, most: int | None) -> Node | None:
    """Integers between inclusive bounds, however large; None if there are none.

    On a side without a bound, those of 15 digits, or as many as the bound of the other side has and one more.
    """
    limit = 10**MOST_DIGITS - 1
    low = min(-limit, -10 * abs(most or 0)) if least is None else least
    high = max(limit, 10 * abs(least or 0)) if most is None else most
    if low > high:
        return None
    surplus = len(str(max(abs(low), abs(high)))) - _LONGEST
    if surplus > 0 and low * high > 0:  # the round ones among them
        return _multiples_of_power(10**surplus, "0" * surplus, low, high)
    low, high = max(low, -(10**_LONGEST)), min(high, 10**_LONGEST)
    parts: list[Node] = []
    if low < 0:
        parts.append(row("-", _naturals(max(1, -high), -low)))
    if high >= 0:
        parts.append(_naturals(max(0, low), high))
    return choice(parts)


def multiples(step: int, least: int | None, most: int | None, rules: Rules) -> Node | None:
    """Multiples of `step` between inclusive bounds; None if these cannot be said in few rules.

    Between bounds that are far apart, those that have fewer digits than the bounds.
    """
    if least is not None and most is not None and -(-least // step) > most // step:
        return None
    zeros = str(step).removeprefix("1")
    if not zeros.strip("0"):
        return _multiples_of_power(step, zeros, least, most)
    if least is not None and most is not None and most // step + -least // step < _MOST_MULTIPLES:
        return choice([str(step * factor) for factor in range(-(-least // step), most // step + 1)])
    if step > _LARGEST_STEP or (least is not None and least > step) or (most is not None and most < -step):
        return None
    if most is None and (least is None or -step < least <= 0):
        return _all_multiples(step, rules, negative=least is None)
    parts: list[Node] = ["0"] if (least or 0) <= 0 <= (most or 0) else []
    known: dict[int, Node | None] = {}
    for sign, bound in (("", most), ("-", None if least is None else -least)):
        digits = MOST_DIGITS if bound is None else len(str(bound + 1)) - 1 if bound > 0 else 0
        digits = min(digits, _MOST_REMAINDERS // step)
        if digits not in known:
            known[digits] = _multiples_of_digits(step, digits, rules)
        positive = known[digits]
        if positive is not None:
            parts.append(row(sign, positive))
    return choice(parts) if parts else None


def _all_multiples(step: int, rules: Rules, *, negative: bool) -> Node:
    """Multiples without bounds: one rule for each remainder, of what may follow the digits so far."""
    names = [rules.new("rest") for _ in range(step)]
    for remainder, name in enumerate(names):
        following: list[Node] = [row(str(digit), names[(10 * remainder + digit) % step]) for digit in range(10)]
        rules.set(name, choice([*following, ""] if remainder == 0 else following))
    positive = choice([row(str(digit), names[digit % step]) for digit in range(1, 10)])
    return choice(["0", row(optional("-"), positive) if negative else positive])


def _multiples_of_power(step: int, zeros: str, least: int | None, most: int | None) -> Node | None:
    """Multiples of a power of ten."""
    farthest = 10**MOST_DIGITS // step
    first = -farthest if least is None else -(-least // step)
    last = farthest if most is None else most // step
    parts: list[Node] = ["0"] if first <= 0 <= last else []
    for low, high in ((first, min(last, -1)), (max(first, 1), last)):
        factors = integers(low, high)
        if factors is not None:
            parts.append(row(factors, zeros))
    return choice(parts) if parts else None


def _multiples_of_digits(step: int, digits: int, rules: Rules) -> Node | None:
    """Positive multiples of at most so many digits; one rule for each remainder and count of digits to come."""
    rest: dict[tuple[int, int], Node] = {(0, 0): ""}
    for left in range(1, digits):
        for remainder in range(step):
            ways = [
                row(str(digit), following)
                for digit in range(10)
                if (following := rest.get(((10 * remainder + digit) % step, left - 1))) is not None
            ]
            if remainder == 0:
                ways.append("")
            if ways:
                rest[remainder, left] = rules.set(rules.new("rest"), choice(ways))
    firsts = [
        row(str(digit), following)
        for digit in range(1, 10)
        if digits and (following := rest.get((digit % step, digits - 1))) is not None
    ]
    return choice(firsts) if firsts else None


def numbers(
    least: Decimal | None, most: Decimal | None, *, above: bool, below: bool, most_places: int = MOST_DIGITS
) -> Node | None:
    """Numbers between bounds, without exponents; None if there are none of at most 15 digits behind the point.

    Of more than 15 digits before the point there are only those that a bound asks for.

    Args:
        least: The lower bound.
        most: The upper bound.
        above: Whether the lower bound itself is excluded.
        below: Whether the upper bound itself is excluded.
        most_places: Digits behind the point.
    """
    limit = Decimal(10**MOST_DIGITS - 1)
    low, high = (-limit if least is None else least), (limit if most is None else most)
    if low > limit or high < -limit:
        outer = integers(math.ceil(low) + above, math.floor(high) - below if most is not None or high < 0 else None)
        return outer if least is None or most is None or low <= high else None
    low, high = max(low, -limit), min(high, limit)
    above, below = above and low == least, below and high == most
    places = min(max(_places(low), _places(high)), most_places)
    if above or below:
        places = min(places + 2, most_places)
    # From here on in units of the last place; bounds between two of them are rounded inwards.
    bottom, top = math.ceil(low.scaleb(places)), math.floor(high.scaleb(places))
    bottom += above and Decimal(bottom).scaleb(-places) == low
    top -= below and Decimal(top).scaleb(-places) == high
    if bottom > top:
        return None
    parts: list[Node] = []
    if bottom < 0:
        parts += [row("-", part) for part in _magnitudes(max(1, -top), -bottom, places, most_places)]
    if top >= 0:
        parts += _magnitudes(max(0, bottom), top, places, most_places)
    return choice(parts) if parts else None


def _magnitudes(low: int, high: int, places: int, most_places: int) -> list[Node]:
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
        any_fraction = optional(row(".", Repeat(_DIGIT, 1, most_places)))
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
