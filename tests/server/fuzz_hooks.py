"""schemathesis hooks: read event streams as OpenAI sends them, and keep generations small."""

import json
import os

import schemathesis

CHAT = os.environ["FUZZ_CHAT_MODEL"]
EMBEDDING = os.environ["FUZZ_EMBEDDING_MODEL"]
MOST_TOKENS = 2


@schemathesis.deserializer("text/event-stream")
def event_payloads(_context, response):
    """The spec describes the JSON of one event; schemathesis would look for the envelope of an event."""
    events = response.content.decode().removesuffix("\n\n").split("\n\n")
    assert events[-1] == "data: [DONE]", "the stream has no end"
    return [json.loads(event.removeprefix("data: ")) for event in events[:-1]]


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """Ask for a model that exists, mostly, and for few tokens: the protocol is on trial, not the machine."""
    name = (case.path_parameters or {}).get("model")
    if isinstance(name, str) and len(name) % 5:
        case.path_parameters["model"] = CHAT
    body = case.body
    if not isinstance(body, dict):
        return
    known = EMBEDDING if "input" in body else CHAT
    if isinstance(body.get("model"), str) and len(body["model"]) % 5:
        body["model"] = known
    if "input" in body:
        return
    if isinstance(body.get("n"), int) and not isinstance(body["n"], bool) and 2 < body["n"] <= 128:
        body["n"] = 2
    limits = [name for name in ("max_tokens", "max_completion_tokens") if type(body.get(name)) is int]
    for name in limits:
        if body[name] > MOST_TOKENS:
            body[name] = MOST_TOKENS
    limit = "max_completion_tokens" if "chat" in case.path else "max_tokens"
    if not limits and "completions" in case.path and body.get(limit) is None:
        body[limit] = MOST_TOKENS


CLAIMS_A_VIOLATION = {"invalid_type", "invalid_value", "missing_required_parameter", "unknown_parameter"}


@schemathesis.check
def refusals_are_honest(_context, response, case):
    """What the spec allows may be refused, since no model does everything; then the answer names what and says why."""
    mode = case.meta.generation.mode if case.meta else None
    if mode is None or not mode.is_positive or response.status_code != 400:
        return
    error = response.json()["error"]
    assert error["param"], f"a valid request was refused without naming a parameter: {error}"
    assert error["code"] not in CLAIMS_A_VIOLATION, f"a valid request was called invalid: {error}"


@schemathesis.check
def errors_come_in_the_envelope(_context, response, _case):
    """On every path, whatever is wrong."""
    if response.status_code < 400 or response.request.method == "HEAD":
        return
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert len(response.content) < 2048
