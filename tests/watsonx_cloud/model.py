"""What the stand-in answers: it says what it was told, calls the tool that it should, and fills in schemas."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass, field
from itertools import cycle, islice


@dataclass
class Said:
    """One answer.

    Attributes:
        tokens: Its text, in pieces.
        reason: Why it ended, in the words of the generation API.
        calls: Names and arguments of the functions that it calls.
        prompt_tokens: Of what it was told.
    """

    tokens: list[str]
    reason: str
    prompt_tokens: int
    calls: list[tuple[str, str]] = field(default_factory=list)
    thought: str = ""

    @property
    def text(self):
        return "".join(self.tokens)


def tokens(text):
    """A word with the space before it is a token."""
    return re.findall(r"\s?[^\s]+|\s", text)


def converse(body):
    """The answer to a chat request."""
    told = [_text(message.get("content")) for message in body["messages"]]
    count = sum(len(tokens(text)) + 3 for text in told)
    last = body["messages"][-1]
    call = _call(body, last)
    if call:
        return Said([], "eos_token", count, calls=call)
    user = next((_text(m["content"]) for m in reversed(body["messages"]) if m["role"] == "user"), "")
    text = _text(last["content"]) if last["role"] == "tool" else user
    form = body.get("response_format", {"type": "text"})
    if form["type"] == "json_object":
        text = json.dumps({"said": user})
    elif form["type"] == "json_schema":
        text = json.dumps(instance(form["json_schema"]["schema"]))
    limit = body.get("max_completion_tokens", body.get("max_tokens", 1024)) or 512
    said = _cut(tokens(text), limit, body.get("stop", []), count)
    said.thought = "Let me think." if body.get("reasoning_effort") else ""
    return said


def continue_text(body):
    """The answer to a generation request: what was told, again and again."""
    wanted = body.get("parameters", {})
    told = tokens(body["input"])
    limit = wanted.get("max_new_tokens", 20)
    least = wanted.get("min_new_tokens", 0)
    long = max(len(told), least, 1)
    return _cut(list(islice(cycle(told or ["."]), long)), limit, wanted.get("stop_sequences", []), len(told))


def _cut(pieces, limit, stops, prompt_tokens):
    reason = "max_tokens" if len(pieces) >= limit else "eos_token"
    pieces = pieces[:limit]
    found = [at for at in ("".join(pieces).find(stop) for stop in stops) if at >= 0]
    if found:
        reason, left, kept = "stop_sequence", min(found), []
        for piece in pieces:
            kept.append(piece[:left])
            left = max(0, left - len(piece))
        pieces = [piece for piece in kept if piece]
    return Said(pieces, reason, prompt_tokens)


def _text(content):
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""


def _call(body, last):
    tools, option = body.get("tools"), body.get("tool_choice_option", "none")
    if not tools or (option == "none" and "tool_choice" not in body):
        return []
    if "tool_choice" in body:
        wanted = body["tool_choice"]["function"]["name"]
        tools = [tool for tool in tools if tool["function"]["name"] == wanted]
    elif option == "auto" and (last["role"] == "tool" or "call" not in _text(last["content"]).lower()):
        return []
    function = tools[-1]["function"]
    parameters = function.get("parameters")
    arguments = json.dumps(instance(parameters)) if parameters else ""  # IBM leaves them empty
    several = 2 if "twice" in _text(last["content"]) else 1
    return [(function["name"], arguments)] * several


def instance(schema):
    """A value that conforms to a simple schema."""
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return instance(schema[key][0])
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: instance(part) for name, part in schema.get("properties", {}).items()}
    return {"string": "Paris", "integer": 7, "number": 0.5, "boolean": True, "array": [], "null": None}[kind]


def scores(token, count):
    """A log-probability, and alternatives, the likeliest first."""
    return -0.25, [(token, -0.25), *((f" other{at}", -1.5 - at) for at in range(1, count))][:count]


def vector(text, size):
    """A direction for each word, added up: texts with the same words are near to each other."""
    total = [0.0] * size
    for word in text.lower().split() or [text]:
        for at, byte in enumerate(hashlib.shake_256(word.encode()).digest(size)):
            total[at] += byte - 127.5
    length = math.hypot(*total)
    return [number / length for number in total]
