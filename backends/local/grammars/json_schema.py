"""JSON Schema -> grammar. Whatever the grammar allows is valid; what a grammar cannot say is refused by its name.

A grammar may be narrower than its schema: members come in the schema's order, objects with `properties` have no others
unless `additionalProperties` is written out, and strings of a `format` are the usual ones. It is never wider.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from specserve.backends.local.grammars.analysis import begins_itself, can_end, width
from specserve.backends.local.grammars.grammar import Grammar, Node, Ref, Rules, choice, optional, row
from specserve.backends.local.grammars.json_text import JSONText, literal
from specserve.backends.local.grammars.schema_branches import check_apart, types_in
from specserve.backends.local.grammars.schema_reading import (
    ARRAY,
    MOST_COUNTED,
    MOST_LISTED,
    NUMBER,
    OBJECT,
    SILENT,
    STRING,
    TYPES,
    Place,
    Schema,
    SchemaReader,
    TooComplexSchema,
    has_type,
    key_of,
    types_of,
)
from specserve.backends.local.grammars.schema_scalars import Scalars
from specserve.spec.errors import UnsupportedValue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Engines compile a grammar of these sizes in about a second, and other requests with one wait for it.
LONGEST_GRAMMAR = 100_000

_MOST_RULES = 2000
_LONGEST_NAME = 64  # of a property, where others must differ from it
_WIDEST = 400
_BY_TYPE = {"string": STRING, "number": NUMBER, "array": ARRAY, "object": OBJECT}


def schema_grammar(schema: Any, param: str, *, strict: bool = True) -> Grammar:
    """The grammar of the JSON texts that conform to a schema.

    Args:
        schema: A JSON Schema of any draft since 6, as far as the drafts agree.
        param: The request parameter it comes from.
        strict: Whether all that it says must be held to; else what can be held to in part only is held to in part.

    Raises:
        UnsupportedValue: It has a keyword that is not enforced, or is too complex.
        InvalidRequest: It is no JSON Schema, or nothing conforms to it.
    """
    rules = Rules()
    rules.set(Ref("root"), SchemaGrammar(schema, Place(param), rules, strict=strict).root())
    return checked(Grammar(rules.rules), param)


def object_grammar() -> Grammar:
    """The grammar of any JSON object."""
    rules = Rules()
    rules.set(Ref("root"), JSONText(rules).object())
    return Grammar(rules.rules)


def checked(grammar: Grammar, param: str) -> Grammar:
    """`grammar`, if an engine can take it.

    Raises:
        UnsupportedValue: It is too large.
    """
    if len(grammar.ebnf()) > LONGEST_GRAMMAR or width(grammar.rules.values(), grammar.rules) > _WIDEST:
        raise TooComplexSchema(param)
    return grammar


class SchemaGrammar:
    """Makes the rules of one schema.

    Args:
        schema: The schema.
        place: Where it stands.
        rules: Where its rules go.
        strict: See `schema_grammar`.
    """

    def __init__(self, schema: Any, place: Place, rules: Rules, *, strict: bool = True) -> None:
        self._schema = schema
        self._place = place
        self._rules = rules
        self._strict = strict
        self._reader = SchemaReader(schema, strict=strict)
        self._json = JSONText(rules)
        self._named: dict[str, Ref | None] = {}
        self._used: set[Ref] = set()
        self._scalars = Scalars(rules, self._json, strict=strict)
        self._listed = 0

    def root(self) -> Node:
        """What conforms to the schema.

        Raises:
            UnsupportedValue: See `schema_grammar`.
            InvalidRequest: See `schema_grammar`.
        """
        try:
            node = self._value(self._schema, self._place, ())
        except RecursionError as error:
            raise TooComplexSchema(self._place, "is nested too deeply") from error
        if node is None:
            raise self._place.impossible()
        made = Grammar({**self._rules.rules, "root": node})
        if not can_end(made) or begins_itself(made):
            raise self._place.impossible()
        return node

    def _value(self, schema: Any, place: Place, via: tuple[str, ...]) -> Node | None:
        """What conforms to a schema; None if nothing does.

        Args:
            schema: The schema.
            place: Where it stands.
            via: References that led here, with nothing in between that takes a character.
        """
        if isinstance(schema, dict) and isinstance(schema.get("$ref"), str) and not schema.keys() - SILENT - {"$ref"}:
            return self._reference(schema["$ref"], place, via)
        if len(self._rules.rules) > _MOST_RULES:
            raise TooComplexSchema(place)
        flat = self._reader.flat(schema, place, via)
        if not flat:
            return None if flat is None else self._json.value
        for name in ("const", "enum"):
            if name in flat:
                return self._values(flat, place / name)
        if "anyOf" in flat or "oneOf" in flat:
            return self._branches(flat, place, via)
        parts = [part for name in self._types(flat) if (part := self._of_type(name, flat, place)) is not None]
        return choice(parts) if parts else None

    def _reference(self, pointer: str, place: Place, via: tuple[str, ...]) -> Node | None:
        if pointer in via:
            raise place.invalid("$ref", "leads back to itself")
        if pointer not in self._named:
            name = self._named[pointer] = self._rules.new("ref")
            node = self._value(self._reader.target(pointer, place), place / "$ref", (*via, pointer))
            self._rules.set(name, "" if node is None else node)
            if node is None and name in self._used:
                raise place.unsupported("$ref", "nothing conforms to where it leads")  # and a rule has relied on it
            self._named[pointer] = None if node is None else name
            return self._named[pointer]
        known = self._named[pointer]
        if known is not None:
            self._used.add(known)
        return known

    def _types(self, flat: Schema) -> Sequence[str]:
        if "type" in flat:
            named = types_of(flat["type"])
            return [name for name in TYPES if name in named and not (name == "integer" and "number" in named)]
        meant = [name for name, keywords in _BY_TYPE.items() if any(keyword in flat for keyword in keywords)]
        return meant or [name for name in TYPES if name != "integer"]

    def _of_type(self, name: str, flat: Schema, place: Place) -> Node | None:
        match name:
            case "object":
                return self._object(flat, place)
            case "array":
                return self._array(flat, place)
            case "string":
                return self._scalars.string(flat, place)
            case "boolean":
                return choice(["true", "false"])
            case "null":
                return "null"
        return self._scalars.number(flat, place, whole=name == "integer")

    def _values(self, flat: Schema, place: Place) -> Node | None:
        listed = [flat["const"]] if "const" in flat else flat["enum"]
        self._listed += len(listed)
        if self._listed > MOST_LISTED:
            raise UnsupportedValue(f"The schema lists more than {MOST_LISTED} values.", param=str(place))
        if "const" in flat and key_of(flat["const"]) not in set(map(key_of, flat.get("enum", listed))):
            return None
        types = types_of(flat["type"]) if "type" in flat else frozenset(TYPES)
        present = types_in(listed)
        idle = {keyword for name, keywords in _BY_TYPE.items() if name not in present for keyword in keywords}
        if flat.keys() - {"const", "enum", "type"} - idle:
            raise UnsupportedValue("The schema limits listed values further: list only those.", param=str(place))
        texts = [literal(value) for value in listed if has_type(value, types)]
        return choice(texts) if texts else None

    # ------------------------------------------------------------------------------------------------------- branches

    def _branches(self, flat: dict[str, Any], place: Place, via: tuple[str, ...]) -> Node | None:
        if "anyOf" in flat and "oneOf" in flat:
            raise place.unsupported("oneOf", "it stands beside 'anyOf'")
        name = "anyOf" if "anyOf" in flat else "oneOf"
        base = {key: value for key, value in flat.items() if key != name}
        branches = [branch if not base else {"allOf": [base, branch]} for branch in flat[name]]
        if name == "oneOf":
            check_apart(branches, self._reader, place, via)
        parts = [self._value(branch, place / name / at, via) for at, branch in enumerate(branches)]
        possible = [part for part in parts if part is not None]
        return choice(possible) if possible else None

    # ------------------------------------------------------------------------------------------------------ containers

    def _array(self, flat: Schema, place: Place) -> Node | None:
        least, most = int(flat.get("minItems", 0)), flat.get("maxItems")
        most = None if most is None else int(most)
        if self._strict and max(least, most or 0) > MOST_COUNTED:
            raise place.unsupported("maxItems" if "maxItems" in flat else "minItems", "it is too large")
        least, most = min(least, MOST_COUNTED), None if most is None or most > MOST_COUNTED else most
        first, rest_name = flat.get("prefixItems", []), "items"
        if isinstance(flat.get("items"), list):
            first, rest_name = flat["items"], "additionalItems"
        elif "additionalItems" in flat:
            raise place.unsupported("additionalItems", "'items' is no list")
        if flat.get("uniqueItems") and (most is None or most > 1):
            raise place.unsupported("uniqueItems", "it cannot be enforced")
        if most is not None and most < least:
            return None
        if not first:
            item = None if most == 0 else self._value(flat.get("items", True), place / "items", ())
            if item is None:
                return "[]" if least == 0 else None
            return self._json.array(self._rules.add("item", item), least, most)
        return self._tuple(first, flat.get(rest_name, least > len(first)), least, most, place)

    def _tuple(self, first: Sequence[Any], rest: Any, least: int, most: int | None, place: Place) -> Node | None:
        """An array whose first items have schemas of their own; what may follow is narrowed to nothing if unsaid."""
        gap = self._json.gap
        items: list[Node] = []
        for at, schema in enumerate(first if most is None else first[:most]):
            item = self._value(schema, place / "prefixItems" / at, ())
            if item is None:
                break
            items.append(item)
        whole = len(items) == len(first)
        other = self._value(rest, place / "items", ()) if whole and (most is None or most > len(first)) else None
        tail: Node = ""
        if other is not None:
            more = self._rules.add("more", row(",", gap, other))
            tail = self._rules.counted(more, max(0, least - len(items)), None if most is None else most - len(items))
        elif least > len(items):
            return None
        for at in range(len(items) - 1, -1, -1):
            tail = row(row(",", gap) if at else gap, items[at], tail)
            # A rule for each, or they would stand in one another a thousand deep.
            tail = self._rules.add("tail", optional(tail) if at >= least else tail)
        return row("[", tail, gap, "]")

    def _object(self, flat: Schema, place: Place) -> Node | None:
        required = list(dict.fromkeys(flat.get("required", ())))
        properties: dict[str, Any] = dict(flat.get("properties", {}))
        limits = {name: flat.get(f"{name}Properties") for name in ("min", "max")}
        others = flat.get("additionalProperties", not ("properties" in flat or required or "patternProperties" in flat))
        if "patternProperties" in flat or "propertyNames" in flat:
            return self._map_of_names(flat, others, place)
        for name in required:
            properties.setdefault(name, flat.get("additionalProperties", True))
        members: list[tuple[Node, bool]] = []
        for name, schema in properties.items():
            value = self._value(schema, place / "properties" / name, ())
            if value is not None:
                member = self._json.member(literal(name), value)
                members.append((self._rules.add("member", member), name in required))
            elif name in required:
                return None
        other = None
        value = self._value(others, place / "additionalProperties", ())
        if value is not None:
            if any(len(name) > _LONGEST_NAME for name in properties):
                if not self._strict:
                    return self._members(members, None, limits, place)
                raise place.unsupported("additionalProperties", "there are properties with long names")
            other = self._json.member(self._json.key_beside(list(properties)), self._rules.add("item", value))
        return self._members(members, other, limits, place)

    def _map_of_names(self, flat: Schema, others: Any, place: Place) -> Node | None:
        """An object that says something about its keys: all of them of one kind."""
        name = "patternProperties" if "patternProperties" in flat else "propertyNames"
        if "properties" in flat or "required" in flat or len(flat.get("patternProperties", ())) > 1:
            raise place.unsupported(name, "it stands beside other properties or patterns")
        if "patternProperties" in flat and "propertyNames" in flat:
            raise place.unsupported(name, "it stands beside 'propertyNames'")
        if name == "propertyNames":
            names = self._reader.flat(flat[name], place / name)
            key = None if names is None else self._value({"type": "string", **names}, place / name, ())
            value = self._value(others, place / "additionalProperties", ())
        elif not flat[name]:
            key, value = self._json.string(), self._value(flat.get("additionalProperties", True), place, ())
        else:
            [(source, schema)] = flat[name].items()
            key = self._scalars.string({"pattern": source}, place / name)
            value = self._value(schema, place / name / source, ())
        other = None if key is None or value is None else self._json.member(key, value)
        limits = {name: flat.get(f"{name}Properties") for name in ("min", "max")}
        return self._members([], other, limits, place)

    def _members(
        self, members: Sequence[tuple[Node, bool]], other: Node | None, limits: Mapping[str, Any], place: Place
    ) -> Node | None:
        """An object of these members, each required or not, and others of one kind after them."""
        least, most = int(limits["min"] or 0), limits["max"]
        if not self._strict:
            least, most = min(least, MOST_COUNTED), None if most is None or most > MOST_COUNTED else most
        required = sum(needed for _, needed in members)
        if most is not None and most < required:
            return None
        if most is not None and most == required:
            members, other = [member for member in members if member[1]], None
        if least > required and (least > 1 or members) and not self._strict:
            least = required  # in part: a key may come twice
        if least > required and (least > 1 or members):
            raise place.unsupported("minProperties", "it is more than are required; a key may come twice")
        if most is not None and other is None and most >= len(members):
            most = None
        if most is not None and most < len(members) and not self._strict:
            most = None
        if most is not None and most < len(members):
            raise place.unsupported("maxProperties", "it is less than there are properties")
        if least and other is None and not members:
            return None
        if not members:
            return (
                "{}"
                if other is None
                else self._json.listing("{", other, "}", least, None if most is None else int(most))
            )
        return row("{", self._chain(members, other, None if most is None else int(most) - len(members)), "}")

    def _chain(self, members: Sequence[tuple[Node, bool]], other: Node | None, most: int | None) -> Node:
        """Members in order, commas only between those that are there."""
        gap = self._json.gap
        more: Node = ""
        none: Node = ""
        if other is not None:
            following = self._rules.add("more", row(",", gap, other))
            more = self._rules.counted(following, 0, most)
            none = optional(row(gap, other, self._rules.counted(following, 0, None if most is None else most - 1), gap))
        begun: Node = row(more, gap)
        for member, needed in reversed(members):
            present_first, present = row(gap, member, begun), row(",", gap, member, begun)
            none = present_first if needed else choice([present_first, none])
            begun = present if needed else choice([present, begun])
            # A rule for each, or the text would double with every optional member.
            begun, none = self._rules.add("rest", begun), self._rules.add("first", none)
        return none
