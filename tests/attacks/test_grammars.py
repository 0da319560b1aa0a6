"""Schemas that would take an engine for ever are refused or become cheap; what stock clients send binds."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import pytest
from sentences import sentence

from specserve.backends.local.grammars.analysis import shortest
from specserve.backends.local.grammars.json_schema import schema_grammar
from specserve.backends.local.text.structured import format_grammar
from specserve.backends.local.tools.formats import GENERIC
from specserve.backends.local.tools.tools import answer_grammar, read_tools
from specserve.spec.errors import APIError, UnsupportedValue

N = 60
EXPLOSIVE: list[Any] = [
    *({"type": "string", "pattern": pattern} for pattern in (
        f"^((.{{0,{N}}}a){{0,{N}}}b){{0,{N}}}$", "(.*a.{12})", "^" + "(.?a?)" * 100 + "$", f"^(a|aa|aaa){{0,{9 * N}}}$",
        "(.*)" * 40 + "x.{99}", "^(?=.{300}$)(?!.*ab)(.?b?){99}$", "(?:(?:(?:a{1000}b){1000}c){1000}d){1000}",
    )),
    {"$defs": {"a": {"enum": [*range(1000)]}, "b": {"enum": [*range(500, 1500)]}},
     "allOf": [{"$ref": "#/$defs/" + "ab"[at % 2]} for at in range(980)]},
    {"anyOf": [{"type": "string", "minLength": at, "maxLength": at + 100} for at in range(100)]},
    {"anyOf": [{"type": "string", "pattern": f"^[^x]{{0,{at}}}y"} for at in range(100)]},
    {"oneOf": [{"enum": [*range(at, at + 900)]} for at in range(0, 900_000, 900)]},
]  # fmt: skip
CHEAP = [
    ("^(.{0,400}){0,400}$", 300), ("^(a?){400}$", 300), ("^(.?){0,400}$", 300), ("^((a*)*)*b?$", 300),
    ("^(.*a){3}$", 600),
]  # fmt: skip
DATE = (
    r"^(?:(?:\d\d[2468][048]|\d\d[13579][26]|\d\d0[48]|[02468][048]00|[13579][26]00)-02-29|\d{4}-(?:(?:0[13578]|1[02])-"
    r"(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|(?:02)-(?:0[1-9]|1\d|2[0-8])))$"
)
DURATION = r"^P(?:(\d+W)|(?!.*W)(?=\d|T\d)(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+([.,]\d+)?S)?)?)$"
EMAIL = r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$"
BASE64 = "^$|^(?:[0-9a-zA-Z+/]{4})*(?:(?:[0-9a-zA-Z+/]{2}==)|(?:[0-9a-zA-Z+/]{3}=))?$"
ZOD: list[Any] = [
    {"type": "integer", "minimum": -9007199254740991, "maximum": 9007199254740991},
    {"type": "number", "minimum": -3.4028234663852886e38, "maximum": 3.4028234663852886e38},
    {"type": "string", "format": "date", "pattern": DATE},
    {"type": "string", "format": "duration", "pattern": DURATION},
    {"type": "string", "format": "email", "pattern": EMAIL},
    {"type": "string", "format": "base64", "pattern": BASE64},
    {"type": "string", "format": "ends_with", "pattern": r".*y\.z$"},
    {"type": "string", "format": "includes", "pattern": r"a\+b"},
    {"type": "string", "minLength": 3, "maxLength": 20, "allOf": [{"pattern": "^ab.*"}, {"pattern": ".*cd$"}]},
    {"type": "integer", "multipleOf": 5, "minimum": 0, "maximum": 99},
]  # fmt: skip


@pytest.mark.parametrize("at", range(len(EXPLOSIVE)))
@pytest.mark.parametrize("strict", [True, False])
def test_what_would_take_too_many_states_is_refused(at: int, strict: bool) -> None:
    with pytest.raises(APIError) as caught:
        schema_grammar(EXPLOSIVE[at], "response_format", strict=strict)
    assert caught.value.status == 400
    assert (caught.value.param or "").startswith("response_format")


@pytest.mark.parametrize(("pattern", "most"), CHEAP)
def test_a_pattern_that_can_be_read_in_many_ways_is_read_in_one(pattern: str, most: int) -> None:
    assert len(schema_grammar({"type": "string", "pattern": pattern}, "p").rules) < most


@pytest.mark.parametrize("at", range(len(ZOD)))
def test_what_zod_makes_of_its_formats_is_held_to_strictly(at: int) -> None:
    grammar, rng = schema_grammar(ZOD[at], "p", strict=True), random.Random(at)
    for text in [
        shortest(grammar) or "",
        *(sentence(grammar, rng) for _ in range(0 if len(grammar.rules) > 99 else 10)),
    ]:
        jsonschema.validate(json.loads(text), ZOD[at], format_checker=jsonschema.FormatChecker())


def test_a_group_that_python_names_is_a_group_and_what_is_refused_is_called_by_its_name() -> None:
    assert shortest(schema_grammar({"type": "string", "pattern": "^(?P<y>a)$"}, "p")) == '"a"'
    for pattern, name in ((r"(?<=a)b", "look-behind"), (r"(a)\1", "a back reference"), (r"(?i)a", "flags")):
        with pytest.raises(UnsupportedValue, match=name):
            schema_grammar({"type": "string", "pattern": pattern}, "p")


@pytest.mark.parametrize("schema", [*EXPLOSIVE[:3], {"not": {"type": "null"}}, {"type": "banana"}, {"if": {}}, 7])
def test_a_tool_that_need_not_be_called_never_fails_a_request(schema: Any) -> None:
    function = {"name": "f", "parameters": {"type": "object", "properties": {"a": schema}}}
    asked = {
        "tools": [{"type": "function", "function": function}],
        "tool_choice": None,
        "parallel_tool_calls": None,
        "response_format": None,
    }
    answer_grammar(read_tools(asked), GENERIC, format_grammar(asked))
    with pytest.raises(APIError):
        answer_grammar(read_tools(asked | {"tool_choice": "required"}), GENERIC, format_grammar(asked))
