"""Request bodies as IBM documents them, as JSON Schemas that know no other keys."""

from __future__ import annotations

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError


def _object(required=(), **properties):
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": properties}


_TEXT = {"type": "string"}
_FUNCTION_CALL = _object(["name", "arguments"], name=_TEXT, arguments=_TEXT)
_TOOL_CALL = _object(["id", "type", "function"], id=_TEXT, type={"const": "function"}, function=_FUNCTION_CALL)
_IMAGE = _object(url={"type": "string", "pattern": "^data:image/"}, detail={"enum": ["low", "high", "auto"]})
_AUDIO = _object(data=_TEXT, format={"enum": ["wav", "mp3"]})
PARTS = {
    "text": _object(["type", "text"], type=_TEXT, text=_TEXT),
    "image_url": _object(["type", "image_url"], type=_TEXT, image_url=_IMAGE),
    "input_audio": _object(["type", "input_audio"], type=_TEXT, input_audio=_AUDIO),
}
MESSAGES = {
    "system": _object(["role", "content"], role=_TEXT, content=_TEXT, name=_TEXT),
    "user": _object(["role", "content"], role=_TEXT, content={"type": ["string", "array"]}, name=_TEXT),
    "assistant": _object(
        ["role"],
        role=_TEXT,
        content=_TEXT,
        name=_TEXT,
        refusal={"type": ["string", "null"]},
        tool_calls={"type": "array", "items": _TOOL_CALL},
    ),
    "tool": _object(["role", "content", "tool_call_id"], role=_TEXT, content=_TEXT, tool_call_id=_TEXT),
}
_TOOL = _object(
    ["type", "function"],
    type={"const": "function"},
    function=_object(["name"], name=_TEXT, description=_TEXT, parameters={"type": "object"}),
)
_CONTAINER = {"project_id": _TEXT, "space_id": _TEXT}
_STRICT_PENALTY = {"type": "number", "minimum": -2, "maximum": 2}
CHAT = _object(
    ["model_id", "messages"],
    **_CONTAINER,
    model_id=_TEXT,
    messages={"type": "array", "minItems": 1, "items": {"type": "object", "required": ["role"]}},
    tools={"type": "array", "minItems": 1, "items": _TOOL},
    tool_choice=_object(["type", "function"], type={"const": "function"}, function=_object(["name"], name=_TEXT)),
    tool_choice_option={"enum": ["none", "auto", "required"]},
    frequency_penalty=_STRICT_PENALTY,
    presence_penalty=_STRICT_PENALTY,
    repetition_penalty={"type": "number", "exclusiveMinimum": 0},
    length_penalty={"type": "number"},
    logit_bias={"type": "object", "additionalProperties": {"type": "number"}},
    logprobs={"type": "boolean"},
    top_logprobs={"type": "integer", "minimum": 0, "maximum": 20},
    max_tokens={"type": "integer", "minimum": 0},
    max_completion_tokens={"type": "integer", "minimum": 0},
    n={"type": "integer", "minimum": 1},
    response_format=_object(
        ["type"],
        type={"enum": ["text", "json_object", "json_schema"]},
        json_schema=_object(["name", "schema"], name=_TEXT, schema={"type": "object"}, strict={"type": "boolean"}),
    ),
    seed={"type": "integer"},
    stop={"type": "array", "maxItems": 4, "uniqueItems": True, "items": _TEXT},
    temperature={"type": "number", "minimum": 0, "maximum": 2},
    top_p={"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    time_limit={"type": "integer", "exclusiveMinimum": 0},
    include_reasoning={"type": "boolean"},
    reasoning_effort={"enum": ["low", "medium", "high"]},
    chat_template_kwargs={"type": "object"},
)
GENERATION = _object(
    ["model_id", "input"],
    **_CONTAINER,
    model_id=_TEXT,
    input=_TEXT,
    parameters=_object(
        decoding_method={"enum": ["sample", "greedy"]},
        length_penalty=_object(decay_factor={"type": "number"}, start_index={"type": "integer"}),
        max_new_tokens={"type": "integer", "minimum": 0},
        min_new_tokens={"type": "integer", "minimum": 0},
        random_seed={"type": "integer", "minimum": 1, "maximum": 2**32 - 1},
        stop_sequences={"type": "array", "maxItems": 6, "uniqueItems": True, "items": _TEXT},
        temperature={"type": "number", "minimum": 0, "maximum": 2},
        time_limit={"type": "integer", "exclusiveMinimum": 0},
        top_k={"type": "integer", "minimum": 1, "maximum": 100},
        top_p={"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        repetition_penalty={"type": "number", "minimum": 1, "maximum": 2},
        truncate_input_tokens={"type": "integer", "minimum": 1},
        include_stop_sequence={"type": "boolean"},
        return_options=_object(
            input_text={"type": "boolean"},
            generated_tokens={"type": "boolean"},
            input_tokens={"type": "boolean"},
            token_logprobs={"type": "boolean"},
            token_ranks={"type": "boolean"},
            top_n_tokens={"type": "integer", "minimum": 1, "maximum": 5},
        ),
    ),
)
EMBEDDINGS = _object(
    ["model_id", "inputs"],
    **_CONTAINER,
    model_id=_TEXT,
    inputs={"type": "array", "minItems": 1, "maxItems": 1000, "items": {"type": "string", "minLength": 1}},
    parameters=_object(
        truncate_input_tokens={"type": "integer", "minimum": 1},
        return_options=_object(input_text={"type": "boolean"}),
    ),
)


def problem(schema, value, where=""):
    """What is wrong with a value, as IBM would word it; None if nothing is."""
    for error in Draft202012Validator(schema).iter_errors(value):
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
        place = f"{where}{path}".lstrip(".")
        if error.validator == "additionalProperties":
            extra = min(set(error.instance) - set(error.schema["properties"]))
            place = f"{place}.{extra}".lstrip(".")
            return f"Json document validation error: {place}: unknown field"
        if error.validator == "required":
            missing = next(name for name in error.validator_value if name not in error.instance)
            return "Missing json field {} in request entity".format(f"{place}.{missing}".lstrip("."))
        return f"Json document validation error: {place}: value is out of its bounds"
    return None


def chat_problem(body):
    """What is wrong with a chat request."""
    found = problem(CHAT, body)
    for at, message in enumerate(body["messages"] if found is None else ()):
        where = f"messages[{at}]"
        role = message["role"]
        if role not in MESSAGES:
            return f"Json document validation error: {where}.role: unknown role"
        found = found or problem(MESSAGES[role], message, where)
        if found is None and role == "assistant" and "content" not in message and not message.get("tool_calls"):
            found = f"Missing json field {where}.content in request entity"
        parts = message["content"] if found is None and isinstance(message.get("content"), list) else ()
        for number, part in enumerate(parts):
            kind = part.get("type") if isinstance(part, dict) else None
            if kind not in PARTS:
                return f"Json document validation error: {where}.content[{number}]: unknown type"
            found = found or problem(PARTS[kind], part, f"{where}.content[{number}]")
    return found or _contradiction(body) or _bad_schema(body)


def _contradiction(body):
    if "tool_choice" in body and "tool_choice_option" in body:
        return "Only one of tool_choice_option or tool_choice must be present"
    if "top_logprobs" in body and not body.get("logprobs"):
        return "Json document validation error: top_logprobs: logprobs must be true"
    named = body.get("tool_choice", {}).get("function", {}).get("name")
    if named and named not in [tool["function"]["name"] for tool in body.get("tools", [])]:
        return "Json document validation error: tool_choice.function.name: no such tool"
    return None


def _bad_schema(body):
    schemas = {
        "response_format.json_schema.schema": body.get("response_format", {}).get("json_schema", {}).get("schema")
    }
    for at, tool in enumerate(body.get("tools", ())):
        schemas[f"tools[{at}].function.parameters"] = tool["function"].get("parameters")
    for where, schema in schemas.items():
        try:
            Draft202012Validator.check_schema(schema or {})
        except SchemaError:
            return f"Json document validation error: {where}: this is no schema"
    return None
