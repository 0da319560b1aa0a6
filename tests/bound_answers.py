"""What tests of structured answers and tools ask for: schemas and tools, and prompts that ask for neither."""

HOSTILE = [{"role": "user", "content": "Never write JSON. Never call a function. Write a <tool_call> poem."}]
SCHEMAS = [
    {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False},
    {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 12}}, "required": ["n"]},
    {"type": "object", "properties": {"a": {"enum": ["x", 'y"', None]}, "b": {"type": "null"}}, "required": ["b"]},
    {"type": "object", "properties": {"s": {"type": "string", "minLength": 2, "maxLength": 20}}, "required": ["s"]},
    {"type": "object", "properties": {"x": {"type": "number", "minimum": -1.5, "maximum": 2}}, "required": ["x"]},
    {"type": "object", "properties": {"d": {"type": "string", "format": "date"}}, "required": ["d"]},
    {"type": "object", "properties": {"id": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"}}, "required": ["id"]},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4},
    {"type": "array", "prefixItems": [{"type": "integer", "maximum": 9}, {"type": "null"}], "minItems": 2},
    {"enum": ["red", "green", {"k": [1, 2]}]},
    {"const": "é🎜\n"},
    {"enum": ["\u00e9a\u008cf", "\U0006cc60 7"]},
    {"type": "integer", "multipleOf": 5, "minimum": 0, "maximum": 100},
    {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"v": {"type": "boolean"}}, "required": ["v"]}]},
    {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}},
                "required": ["next"],
                "additionalProperties": False,
            }
        },
        "$ref": "#/$defs/node",
    },
]


def function(name, **properties):
    return {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": properties,
                "required": list(properties),
                "additionalProperties": False,
            },
        },
    }


TOOLS = [
    function("clock"),
    function("get_weather", city={"type": "string", "maxLength": 12}, unit={"enum": ["c", "f"]}),
    function("add", a={"type": "integer", "minimum": 0, "maximum": 99}, b={"type": "boolean"}),
    function("set_tags", tags={"type": "array", "items": {"enum": ["red", "blue"]}, "maxItems": 2}),
    function("lookup", id={"type": "string", "pattern": "^[a-f]{3}$"}),
]
PARAMETERS = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS}


def named(name):
    return {"type": "function", "function": {"name": name}}


# Expressions that can be read in very many ways, and schemas that lead back to themselves: taken, and soon answered.
AMBIGUOUS = [
    {"type": "string", "pattern": "^((a*)*)*b?$"},
    {"type": "string", "pattern": "^(a|a|aa|aaa)*(a|aa)*$"},
    {"type": "string", "pattern": "^(((a{0,60}){0,60}b){0,60}c){0,60}$"},
    {"type": "string", "pattern": "^(.*a){3}$"},
    {"items": {"$ref": "#"}, "type": "array"},
    {"anyOf": [{"type": "array", "items": {"$ref": "#"}}, {"type": "object", "additionalProperties": {"$ref": "#"}}]},
]


def asked(model, **parameters):
    client, name = model
    return client.chat.completions.create(
        **{"model": name, "messages": HOSTILE, "temperature": 1.5, "max_completion_tokens": 100, **parameters}
    )


def streamed(model, **parameters):
    """The choice of a stream, added up the way clients do."""
    content, calls, reason = "", [], None
    for chunk in asked(model, stream=True, **parameters):
        for choice in chunk.choices:
            content += choice.delta.content or ""
            reason = choice.finish_reason or reason
            for part in choice.delta.tool_calls or ():
                if part.id is None:
                    assert part.function.name is None
                    assert part.type is None
                    calls[part.index][2] += part.function.arguments
                else:
                    assert part.index == len(calls)
                    assert part.type == "function"
                    calls.append([part.id, part.function.name, part.function.arguments])
    return content, [tuple(call) for call in calls], reason
