"""Random texts of a grammar, to try what it allows without a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specserve.backends.local.grammars.analysis import shortest
from specserve.backends.local.grammars.grammar import Chars, Choice, Free, Grammar, Node, Ref, Repeat, Row

if TYPE_CHECKING:
    import random

_DEEP = 12


def sentence(grammar: Grammar, rng: random.Random, *, unlimited: int = 3) -> str:
    """A text that the grammar allows."""
    short = {name: shortest(Grammar({**grammar.rules, "root": node})) for name, node in grammar.rules.items()}

    def write(node: Node, depth: int) -> str:
        match node:
            case str():
                return node
            case Chars(ranges):
                low, high = rng.choice(ranges)
                code = rng.randint(low, min(high, low + 400))
                return chr(low if 0xD800 <= code <= 0xDFFF else code)
            case Ref(name):
                return str(short[name]) if depth > _DEEP else write(grammar.rules[name], depth + 1)
            case Row(parts):
                return "".join(write(part, depth) for part in parts)
            case Choice(parts):
                return write(rng.choice(parts), depth)
            case Repeat(part, least, most):
                top = least + unlimited if most is None else most
                if depth > _DEEP:
                    top = least
                times = rng.choice([least, rng.randint(least, top), min(top, least + 1), top])
                return "".join(write(part, depth) for _ in range(times))
            case Free(triggers):
                return "".join(f"text {trigger}{write(ref, depth)}" for trigger, ref in triggers)

    return write(grammar.rules["root"], 0)
