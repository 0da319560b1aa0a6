"""Characters by Unicode property, as they are named in a regular expression: general categories and emoji."""

from __future__ import annotations

import unicodedata
from functools import cache

from specserve.backends.local.grammars.grammar import merged

Ranges = tuple[tuple[int, int], ...]

_CATEGORIES = ("L", "ultmo"), ("M", "nce"), ("N", "dlo"), ("P", "cdseifo"), ("S", "mcko"), ("Z", "slp")
_NAMES = [group + letter for group, letters in _CATEGORIES for letter in letters]
_LONG_NAMES = {
    "Letter": "L",
    "Uppercase_Letter": "Lu",
    "Lowercase_Letter": "Ll",
    "Mark": "M",
    "Number": "N",
    "Decimal_Number": "Nd",
    "Punctuation": "P",
    "Symbol": "S",
    "Separator": "Z",
    "Space_Separator": "Zs",
}
_LAST = 0x3FFFF  # nothing of these categories is assigned from there on

# emoji-data.txt of Unicode 16.
_EMOJI = {
    "Regional_Indicator": "1F1E6-1F1FF",
    "Emoji_Component": "23 2A 30-39 200D 20E3 FE0F 1F1E6-1F1FF 1F3FB-1F3FF 1F9B0-1F9B3 E0020-E007F",
    "Extended_Pictographic": (
        "A9 AE 203C 2049 2122 2139 2194-2199 21A9-21AA 231A-231B 2328 2388 23CF 23E9-23F3 23F8-23FA 24C2 25AA-25AB "
        "25B6 25C0 25FB-25FE 2600-2605 2607-2612 2614-2685 2690-2705 2708-2712 2714 2716 271D 2721 2728 2733-2734 2744 "
        "2747 274C 274E 2753-2755 2757 2763-2767 2795-2797 27A1 27B0 27BF 2934-2935 2B05-2B07 2B1B-2B1C 2B50 2B55 3030 "
        "303D 3297 3299 1F000-1F0FF 1F10D-1F10F 1F12F 1F16C-1F171 1F17E-1F17F 1F18E 1F191-1F19A 1F1AD-1F1E5 "
        "1F201-1F20F 1F21A 1F22F 1F232-1F23A 1F23C-1F23F 1F249-1F3FA 1F400-1F53D 1F546-1F64F 1F680-1F6FF 1F774-1F77F "
        "1F7D5-1F7FF 1F80C-1F80F 1F848-1F84F 1F85A-1F85F 1F888-1F88F 1F8AE-1F8FF 1F90C-1F93A 1F93C-1F945 1F947-1FAFF "
        "1FC00-1FFFD"
    ),
}


@cache
def property_ranges(name: str) -> Ranges | None:
    """The characters that have a property; None if it is not known here.

    Args:
        name: Such as ``L``, ``Lu``, ``Letter``, ``gc=Nd`` or ``Extended_Pictographic``.
    """
    if name in _EMOJI:
        pairs = (part.partition("-") for part in _EMOJI[name].split())
        return merged((int(low, 16), int(high or low, 16)) for low, _, high in pairs)
    short = name.removeprefix("gc=").removeprefix("General_Category=")
    short = _LONG_NAMES.get(short, short)
    wanted = [category for category in _NAMES if short and category.startswith(short)]
    if not wanted:
        return None
    return merged(pair for category in wanted for pair in _by_category()[category])


@cache
def _by_category() -> dict[str, list[tuple[int, int]]]:
    found: dict[str, list[tuple[int, int]]] = {category: [] for category in _NAMES}
    begin, current = 0, unicodedata.category(chr(0))
    for code in range(1, _LAST + 2):
        category = unicodedata.category(chr(code))
        if category != current:
            if current in found:
                found[current].append((begin, code - 1))
            begin, current = code, category
    return found
