"""What the grammar of a JSON Schema allows is valid; what cannot be enforced is refused by its name. No model here."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from made_up_schemas import schemas
from sentences import sentence

from specserve.backends.local.grammars.analysis import allows, shortest
from specserve.backends.local.grammars.grammar import Grammar, Repeat
from specserve.backends.local.grammars.json_schema import object_grammar, schema_grammar
from specserve.backends.local.grammars.schema_reading import ENFORCED, REFUSED, SILENT
from specserve.spec.errors import APIError, InvalidRequest, UnsupportedValue

NODE = {
    "type": "object",
    "properties": {"value": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
    "required": ["value", "next"],
    "additionalProperties": False,
}
RELIED_ON = {"type": "object", "properties": {"p": {"$ref": "#/$defs/b"}, "z": False}, "required": ["p", "z"]}
RELYING = {"type": "object", "properties": {"p": {"$ref": "#/$defs/a"}}}
SCHEMAS: list[Any] = [
    True,
    {},
    {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}, "required": ["a"]},
    {"type": "object", "properties": {"a": {}, "ab": {}, "": {}}, "additionalProperties": {"type": "integer"}},
    {"type": "object", "properties": {}, "required": ["x"]},
    {"type": "object", "maxProperties": 2, "additionalProperties": {"type": "boolean"}},
    {"type": "object", "properties": {"a": False, "b": True}, "minProperties": 0},
    {"type": "object", "propertyNames": {"enum": ["a", "b"]}, "additionalProperties": {"type": "null"}},
    {"type": "object", "patternProperties": {"^x-": {"type": "integer"}}, "additionalProperties": False},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 9},
    {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "minItems": 1, "maxItems": 3},
    {"type": "array", "items": [{"type": "string"}], "additionalItems": {"type": "null"}},
    {"type": "array", "items": False},
    {"type": "array", "uniqueItems": True, "maxItems": 1},
    {"type": "string", "minLength": 3, "maxLength": 37},
    {"type": "string", "minLength": 17},
    {"type": "string", "maxLength": 1000},
    {"type": "string", "pattern": r"^[A-Z]{2}-\d+(?:\.[a-f]{0,3})?$"},
    {"type": "string", "pattern": "foo|^bar"},
    {"type": "string", "pattern": r'^"\\\n[^a"]+$'},
    {"type": "string", "pattern": "^[a-z]*$", "minLength": 2, "maxLength": 5},
    {"type": "integer", "minimum": -120, "exclusiveMaximum": 7},
    {"type": "integer", "minimum": 0},
    {"type": "integer", "multipleOf": 7},
    {"type": "integer", "multipleOf": 7, "minimum": -1},
    {"type": "integer", "multipleOf": 5, "minimum": 3, "maximum": 99},
    {"type": "integer", "multipleOf": 5, "minimum": -(2**53 - 1), "maximum": 2**53 - 1},
    {"type": "integer", "multipleOf": 2, "minimum": -2},
    {"type": "integer", "multipleOf": 1000, "minimum": -5000},
    {"type": "integer", "minimum": -(2**53 - 1), "maximum": 2**53 - 1},
    {"type": "integer", "minimum": 2**62, "maximum": 2**63 - 1},
    {"type": "integer", "minimum": 10**17},
    {"type": "number"},
    {"type": "number", "minimum": -3.4028234663852886e38, "maximum": 3.4028234663852886e38},
    {"type": "number", "minimum": 1e300},
    {"type": "number", "exclusiveMinimum": 0, "maximum": 1e-9},
    {"type": "number", "minimum": -3.5, "maximum": 12.125},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    {"type": ["integer", "null"], "maximum": 5},
    {"maximum": 5},
    {"enum": ["a", 'b"\\\n', 1, 2.5, None, True, {"k": [1]}, "é🎜"]},
    {"type": "string", "enum": ["a", 1]},
    {"const": {"a": [1, {"b": None}]}},
    {"anyOf": [{"type": "string", "maxLength": 2}, {"type": "integer"}]},
    {"type": "object", "properties": {"a": {"type": "null"}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
    {"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}}, {"required": ["a"]}]},
    {"allOf": [{"type": "number", "minimum": 3}, {"type": "integer", "maximum": 9}]},
    {
        "oneOf": [
            {"type": "object", "properties": {"k": {"const": "a"}, "v": {"type": "integer"}}, "required": ["k"]},
            {"type": "object", "properties": {"k": {"const": "b"}}, "required": ["k"]},
            {"type": "string"},
        ]
    },
    {"$ref": "#/$defs/node", "description": "a list", "$defs": {"node": NODE}},
    {"$ref": "#/$defs/a~1b%25", "$defs": {"a/b%": {"type": "null"}}},
    *({"type": "string", "format": name} for name in ("date", "date-time", "duration", "email", "hostname")),
    {"type": "string", "pattern": "^(?!.*ab)(?=.*c)[abc]{2,6}$"},
    {"type": "string", "pattern": "(?=a)b|c$"},
    {"type": "string", "pattern": "^(?P<y>a)$"},
    {"type": "string", "pattern": "^(a|b)+$", "maxLength": 3},
    {"type": "string", "allOf": [{"pattern": "^ab.*"}, {"pattern": ".*cd$"}], "minLength": 5, "maxLength": 9},
    {"type": "string", "format": "ipv4", "pattern": "^[0-9.]{7,15}$"},
    {"type": "string", "format": "starts_with", "pattern": "^x.*"},
    {"type": "string", "nullable": True, "not": False},
    *({"type": "string", "format": name} for name in ("ipv4", "ipv6", "uuid", "uri")),
]


def check(schema: Any, count: int = 25) -> None:
    grammar = schema_grammar(schema, "p")
    validator = jsonschema.Draft202012Validator(_modern(schema), format_checker=jsonschema.FormatChecker())
    rng = random.Random(0)
    least = shortest(grammar)
    assert least is not None
    for text in [least, *(sentence(grammar, rng) for _ in range(count))]:
        validator.validate(json.loads(text))
        assert len(text) > 200 or allows(grammar, text)


LOOSE: list[tuple[Any, Any]] = [
    ({"type": "string", "format": "no-such-format", "bananas": 1}, {"type": "string"}),
    ({"type": "string", "pattern": r"\bb", "maxLength": 3}, {"type": "string", "maxLength": 3}),
    ({"type": "string", "pattern": r"(?<=a)b", "format": "date"}, {"type": "string", "format": "date"}),
    ({"type": "string", "maxLength": 10**18, "minLength": 2}, {"type": "string", "minLength": 2}),
    ({"type": "number", "minimum": 1e-20, "maximum": 2e-20}, {"type": "number"}),
    ({"type": "integer", "multipleOf": 129, "minimum": 5}, {"type": "integer", "minimum": 5}),
    ({"type": "object", "minProperties": 2}, {"type": "object"}),
    (
        {"$id": "x", "items": {"$id": "y", "type": "null"}, "type": "array"},
        {"type": "array", "items": {"type": "null"}},
    ),
]


@pytest.mark.parametrize(("schema", "held"), LOOSE, ids=str)
def test_what_need_not_be_strict_is_held_to_as_far_as_it_can_be(schema: Any, held: Any) -> None:
    grammar, validator, rng = (
        schema_grammar(schema, "p", strict=False),
        jsonschema.Draft202012Validator(held),
        random.Random(0),
    )
    for _ in range(25):
        validator.validate(json.loads(sentence(grammar, rng)))
    with pytest.raises(UnsupportedValue):
        schema_grammar(schema, "p", strict=True)


def _modern(schema: Any) -> Any:
    """Tuples as the newest draft writes them."""
    if isinstance(schema, dict) and isinstance(schema.get("items"), list):
        return {"prefixItems": schema["items"], "items": schema.get("additionalItems", True), "type": "array"}
    return schema


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: json.dumps(schema)[:60])
def test_whatever_a_schemas_grammar_allows_is_valid(schema: Any) -> None:
    check(schema)


def test_any_object_is_an_object() -> None:
    grammar, rng = object_grammar(), random.Random(1)
    assert shortest(grammar) == "{}"
    for _ in range(50):
        assert isinstance(json.loads(sentence(grammar, rng)), dict)
    assert allows(grammar, '{"a": [1, {"b": "\\n"}], "c":null}')
    assert not allows(grammar, '{"a": 1,}')
    assert not allows(grammar, "[]")


@pytest.mark.parametrize("keyword", sorted(REFUSED - {"$id", "not"}))
def test_a_keyword_that_is_not_enforced_is_refused_by_its_name(keyword: str) -> None:
    with pytest.raises(UnsupportedValue) as caught:
        schema_grammar({"type": "object", "properties": {"x": {keyword: {}}}}, "p")
    assert f"'{keyword}'" in caught.value.message
    assert caught.value.param == f"p.properties.x.{keyword}"


def test_an_unknown_keyword_is_refused_without_repeating_it_in_the_message() -> None:
    with pytest.raises(UnsupportedValue) as caught:
        schema_grammar({"bananas": 1}, "p")
    assert "bananas" not in caught.value.message
    assert caught.value.param == "p.bananas"


def test_each_keyword_has_one_fate() -> None:
    assert not ENFORCED & SILENT
    assert not ENFORCED & REFUSED
    assert not SILENT & REFUSED
    schema_grammar({"type": "null", "x-note": 1, **dict.fromkeys(SILENT - {"$defs", "definitions"}, "said")}, "p")


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"type": "banana"}, "type"),
        ({"type": []}, "type"),
        ({"minLength": -1}, "minLength"),
        ({"minLength": float("inf")}, "minLength"),
        ({"maxLength": "5"}, "maxLength"),
        ({"minimum": True}, "minimum"),
        ({"exclusiveMinimum": True}, "exclusiveMinimum"),
        ({"multipleOf": 0}, "multipleOf"),
        ({"required": "a"}, "required"),
        ({"required": [1]}, "required"),
        ({"properties": []}, "properties"),
        ({"enum": []}, "enum"),
        ({"anyOf": {}}, "anyOf"),
        ({"pattern": 5}, "pattern"),
        ({"uniqueItems": 1}, "uniqueItems"),
        ({"$ref": "#/nowhere"}, "$ref"),
        ({"$ref": "#"}, "$ref"),
        ({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}, "$ref"),
    ],
)
def test_what_is_no_schema_is_refused_with_its_place(schema: Any, keyword: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        schema_grammar(schema, "p")
    assert f"'{keyword}'" in caught.value.message
    assert str(caught.value.param).endswith(f".{keyword}")


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"$ref": "https://example.com/schema"}, "$ref"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "string", "format": "regex"}, "format"),
        ({"not": {"type": "null"}}, "not"),
        ({"type": "string", "pattern": r"(?<=a)b"}, "pattern"),
        ({"type": "string", "pattern": r"\bb"}, "pattern"),
        ({"type": "string", "pattern": "((?=a)a)*"}, "pattern"),
        ({"type": "string", "pattern": r"(a)\1"}, "pattern"),
        ({"type": "string", "pattern": "a^b"}, "pattern"),
        ({"type": "string", "pattern": "^(a|b)+$", "maxLength": 3000}, "pattern"),
        ({"type": "string", "maxLength": 10**9}, "maxLength"),
        ({"type": "number", "minimum": 1e-20, "maximum": 2e-20}, "minimum"),
        ({"type": "number", "multipleOf": 0.3}, "multipleOf"),
        ({"type": "integer", "multipleOf": 129}, "multipleOf"),
        ({"type": "object", "properties": {"a" * 500: {}}, "additionalProperties": True}, "additionalProperties"),
        ({"$ref": "#/$defs/a", "$defs": {"a": RELIED_ON, "b": RELYING}}, "$ref"),
        ({"type": "object", "minProperties": 2}, "minProperties"),
        ({"type": "object", "patternProperties": {"a": {}}, "properties": {"b": {}}}, "patternProperties"),
        (
            {"allOf": [{"properties": {"a": {}}, "additionalProperties": False}, {"properties": {"b": {}}}]},
            "additionalProperties",
        ),
    ],
)
def test_what_a_grammar_cannot_say_is_refused_by_its_keyword(schema: Any, keyword: str) -> None:
    with pytest.raises(UnsupportedValue) as caught:
        schema_grammar(schema, "p")
    assert f"'{keyword}'" in caught.value.message


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"type": "object", "properties": {"a": False}, "required": ["a"]},
        {"type": "object", "properties": {}, "additionalProperties": False, "required": ["a"]},
        {"$ref": "#/$defs/a", "$defs": {"a": {"properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"]}}},
        {"type": "integer", "minimum": 5, "maximum": 4},
        {"type": "string", "minLength": 5, "maxLength": 4},
        {"allOf": [{"type": "string"}, {"type": "integer"}]},
        {"type": "string", "enum": [1]},
        {"anyOf": [False]},
    ],
    ids=str,
)  # fmt: skip
def test_a_schema_that_nothing_finite_conforms_to_is_refused(schema: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        schema_grammar(schema, "p")
    assert caught.value.message == "No finite value conforms to this schema."


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "null"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        nested(200),
        {"enum": [f"value {number}" for number in range(20_000)]},
        {"allOf": [{"enum": list(range(first, first + 60_000))} for first in (0, 1)]},
        {"type": "object", "properties": {f"p{n}": {"pattern": f"^a{{0,{n}}}b$"} for n in range(900)}},
        {"const": json.loads("[" * 500 + "]" * 500)},
        {"type": "object", "properties": {f"p{number}": {"enum": list(range(500))} for number in range(500)}},
        {"properties": {f"p{number}": {} for number in range(100_000)}},
        {"allOf": [{"anyOf": [{}, {}]}] * 3000},
        {"type": "string", "pattern": "(" * 500},
        {"type": "string", "pattern": "(?:(?:(?:a{1000}){1000}){1000}){1000}"},
        {"$ref": "#/$defs/0", "$defs": {str(n): {"anyOf": [{"$ref": f"#/$defs/{n + 1}"}] * 2} for n in range(60)}},
        {"type": "array", "minItems": 1000, "items": {"type": "array", "minItems": 1000}},
        {"properties": {f"p{n}": {"pattern": f"^[^x]{{{n},99}}a.*b$"} for n in range(20)}},
    ],
    ids=[
        *("deep", "enum", "allOf enums", "few wide patterns", "const", "enums", "properties", "allOf", "brackets"),
        *("counts", "doubling", "items", "patterns"),
    ],
)  # fmt: skip
def test_a_pathological_schema_is_refused_soon(schema: Any) -> None:
    with pytest.raises(APIError) as caught:
        schema_grammar(schema, "p")
    assert caught.value.status == 400


def test_long_tuples_are_not_nested() -> None:
    grammar = schema_grammar({"type": "array", "prefixItems": [{"type": "null"}] * 400, "minItems": 398}, "p")
    assert len(json.loads(shortest(grammar) or "")) == 398


def test_a_character_is_not_taken_for_a_part_of_the_number_of_the_one_before_it() -> None:
    """As xgrammar does, and it cannot go on where a model has no token for a byte: so that is spelled in ASCII."""
    assert Grammar({"root": "\u00e9a-b\u0e9aa"}).ebnf() == 'root ::= "\\U000000e9" "a\\U0000002db\\U00000e9aa"\n'
    assert Grammar({"root": Repeat("\u00e9a", 0, 1)}).ebnf() == 'root ::= ("\\U000000e9" "a")?\n'
    assert shortest(schema_grammar({"const": "\U000770b6"}, "p")) == '"\\ud99c\\udcb6"'


def test_a_count_of_a_count_stands_in_brackets() -> None:
    assert Grammar({"root": Repeat(Repeat("a", 0, None), 0, 3)}).ebnf() == 'root ::= ("a"*){0,3}\n'


def test_white_space_is_bounded() -> None:
    grammar = schema_grammar({"type": "array", "items": {"type": "null"}}, "p")
    assert allows(grammar, "[\n    null,\n    null\n]")
    assert not allows(grammar, "[" + " " * 50 + "null]")
    assert not allows(grammar, "[]\n")


@settings(max_examples=150, deadline=None, derandomize=True)
@given(schemas())
def test_a_made_up_schema_is_enforced_or_refused(schema: Any) -> None:
    try:
        check(schema, count=8)
    except APIError as error:
        assert error.status == 400
        assert error.param is not None
        assert error.param.startswith("p")
