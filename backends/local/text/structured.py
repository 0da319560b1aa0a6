"""Which grammar a request binds its answer to, and what that rules out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from specserve.backends.local.grammars.grammar import HIGHEST, Chars, Grammar, Node, Ref, Rules, choice, row, without
from specserve.backends.local.grammars.json_schema import checked, object_grammar, schema_grammar
from specserve.spec.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from specserve.backends.local.text.plan import Plan

_FORMAT = "response_format"
_SCHEMA = f"{_FORMAT}.json_schema.schema"


def format_grammar(asked: Mapping[str, Any]) -> Grammar | None:
    """What `response_format` asks for. A schema binds the answer, and `strict` says whether all of it must.

    Without a schema it is any object.

    Raises:
        UnsupportedValue: The schema has a keyword that cannot be enforced, or is too complex.
        InvalidRequest: The schema is none.
    """
    form = asked[_FORMAT] or {"type": "text"}
    if form["type"] == "text":
        return None
    described = form.get("json_schema") or {}
    schema = described.get("schema", described.get("schema_"))
    if schema is None:
        return object_grammar()
    return schema_grammar(schema, _SCHEMA, strict=bool(described.get("strict")))


def bound(planned: Plan, grammar: Grammar | None, asked: Mapping[str, Any], param: str) -> Plan:
    """The plan with its answers bound to a grammar, if there is one; thoughts come before and are free.

    Args:
        planned: The plan.
        grammar: What the answers must look like.
        asked: The request's parameters.
        param: The one that asked for the grammar.

    Raises:
        InvalidRequest: The answer shall also be of a length that the grammar knows nothing of.
    """
    if grammar is None:
        return planned
    for name in ("ignore_eos", "min_tokens"):
        if asked[name]:
            raise InvalidRequest(f"'{name}' cannot be used with '{param}'.", param=name)
    if planned.thinking is not None and planned.thinking.opened:
        grammar = checked(_after(planned.thinking.format.closes, grammar), param)
    jobs = [replace(job, sampling=replace(job.sampling, grammar=grammar)) for job in planned.jobs]
    return replace(planned, jobs=jobs)


def _after(mark: str, grammar: Grammar) -> Grammar:
    """Any text up to this mark, white space, and then what the grammar allows."""
    rules = Rules()
    rules.rules.update(grammar.rules)
    answer = rules.add("answer", row(choice(["", "\n", "\n\n"]), grammar.rules["root"]))
    # One rule for each length of the mark's beginning that the text so far ends with.
    states = [rules.new("thought") for _ in mark]
    for size, state in enumerate(states):
        following: dict[Ref, list[str]] = {}
        for character in dict.fromkeys(mark):
            matched = _matched(mark, mark[:size] + character)
            following.setdefault(answer if matched == len(mark) else states[matched], []).append(character)
        spelled = [(ord(character), ord(character)) for character in mark]
        parts: list[Node] = [row(Chars(without([(0, HIGHEST)], spelled)), states[0])]
        parts += [row(choice(characters), ref) for ref, characters in following.items()]
        rules.set(state, choice(parts))
    rules.set(Ref("root"), states[0])
    return Grammar(rules.rules)


def _matched(mark: str, text: str) -> int:
    """Length of the longest beginning of `mark` that `text` ends with."""
    return next(size for size in range(len(mark), -1, -1) if text.endswith(mark[:size]))
