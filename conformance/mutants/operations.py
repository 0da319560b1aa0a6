"""What a mutant can do to an answer. The names are those of the rules."""

from __future__ import annotations

import base64
import itertools
import struct
from collections.abc import Callable, Mapping
from typing import Any

from specserve.conformance.mutants import events
from specserve.conformance.mutants.reply import Reply, change

_counter = itertools.count(1)


def apply(reply: Reply, operation: str, argument: Any, request: Any) -> None:
    """Do one thing to an answer. ``request`` is the JSON that was sent, if it was JSON."""
    OPERATIONS[operation](reply, argument, request)


def edit(value: Any, operation: str, argument: Any) -> None:
    """Do one thing to a JSON document in place."""
    if operation == "set":
        for place, new in argument.items():
            top = place.strip("/")
            if "/" in top or top in value:
                change(value, place, _setter(new))
    elif operation == "delete":
        change(value, argument, lambda node, key: node.pop(key, None) if isinstance(node, dict) else node.pop(key))
    elif operation == "add":
        for place, more in argument.items():
            change(value, place, _adder(more))
    elif operation == "repeat":
        change(value, argument, lambda node, key: node.__setitem__(key, [*node[key], *node[key]]))
    elif operation == "reverse":
        change(value, argument, lambda node, key: node.__setitem__(key, node[key][::-1]))
    elif operation == "drop-items":
        change(value, argument, lambda node, key: node.__setitem__(key, node[key][: len(node[key]) // 2]))
    elif operation == "counter":
        change(value, argument, _count)
    elif operation == "rename":
        place, old, new = argument
        change(value, f"{place}/{old}", lambda node, key: node.__setitem__(new, node.pop(key)))
    else:
        raise KeyError(operation)


def _setter(new: Any) -> Callable[[Any, str | int], None]:
    return lambda node, key: node.__setitem__(key, new)


def _adder(more: int) -> Callable[[Any, str | int], None]:
    return lambda node, key: node.__setitem__(key, node[key] + more)


def _count(node: Any, key: str | int) -> None:
    number = next(_counter)
    node[key] = 1_700_000_000 + number if isinstance(node[key], int) else f"{node[key]}-{number}"


def _edit(name: str) -> Callable[[Reply, Any, Any], None]:
    def operation(reply: Reply, argument: Any, _request: Any) -> None:
        value = reply.json()
        if value is not None:
            edit(value, name, argument)
            kind = reply.headers.get("content-type", "application/json")
            reply.set_json(value)
            reply.headers["content-type"] = kind

    return operation


def _status(reply: Reply, argument: Any, _request: Any) -> None:
    reply.status = argument
    if argument >= 400 and not isinstance(reply.json(), dict):
        reply.set_json({"error": {"message": "Changed.", "type": "server_error", "param": None, "code": None}})


def _header(reply: Reply, argument: Mapping[str, str | None], _request: Any) -> None:
    for name, value in argument.items():
        if value is None:
            reply.headers.pop(name, None)
        else:
            reply.headers[name] = value


def _header_parameter(reply: Reply, argument: Mapping[str, str], _request: Any) -> None:
    for name, parameter in argument.items():
        if name in reply.headers and ";" not in reply.headers[name]:
            reply.headers[name] += f"; {parameter}"


def _json(reply: Reply, argument: Any, _request: Any) -> None:
    reply.set_json(argument)


def _body(reply: Reply, argument: str, _request: Any) -> None:
    reply.body = argument.encode()


def _wire(reply: Reply, argument: str, _request: Any) -> None:
    reply.wire = argument


def _bytes(reply: Reply, argument: str, request: Any) -> None:
    match argument:
        case "bom":
            reply.body = b"\xef\xbb\xbf" + reply.body
        case "latin-1":
            text = reply.body.decode().encode().decode("unicode_escape" if b"\\u" in reply.body else "utf-8")
            reply.body = text.encode("latin-1", "replace")
        case "half":
            reply.body = reply.body[: len(reply.body) // 2]
        case "comments":
            reply.body = b": keep-alive\n\n" + reply.body.replace(b"\n\n", b"\n\n: keep-alive\n\n")
        case "crlf":
            reply.body = reply.body.replace(b"\n", b"\r\n")
        case "no-space":
            reply.body = reply.body.replace(b"data: ", b"data:")
        case "ids":
            reply.body = reply.body.replace(b"data: ", b"id: 7\nretry: 3000\ndata: ")
        case "strip-end":
            reply.body = reply.body.rstrip(b"\n")
        case "echo-input":
            error = reply.json()
            error["error"]["message"] += f" Input: {request}" * 8
            reply.set_json(error)


def _part(which: str) -> Callable[[Reply, Any, Any], None]:
    def operation(reply: Reply, argument: Mapping[str, Any], _request: Any) -> None:
        found = reply.events()
        chunks = [event for event in found if isinstance(event, dict)]
        with_choices = [event for event in chunks if event.get("choices")]
        chosen = {"each": chunks, "last": with_choices[-1:], "second": with_choices[1:2]}[which]
        for event in chosen:
            for name, value in argument.items():
                edit(event, name, value)
        reply.set_events(found)

    return operation


def _events(reply: Reply, argument: str, _request: Any) -> None:
    reply.set_events(events.CHANGES[argument](reply.events()))


def _second_choice(reply: Reply, _argument: Any, _request: Any) -> None:
    value = reply.json()
    value["choices"].append({**value["choices"][0], "index": 1})
    reply.set_json(value)


def _second_call(reply: Reply, argument: str, _request: Any) -> None:
    value = reply.json()
    calls = value["choices"][0]["message"]["tool_calls"]
    calls.append({**calls[0], "id": calls[0]["id"] if argument == "same" else "call_another"})
    reply.set_json(value)


def _append_stop(reply: Reply, _argument: Any, request: Any) -> None:
    stop = request["stop"]
    text = stop if isinstance(stop, str) else stop[0]
    if reply.is_stream:
        reply.set_events(events.append_text(reply.events(), text))
    else:
        value = reply.json()
        value["choices"][0]["message"]["content"] += text
        reply.set_json(value)


def _move_to_reasoning(reply: Reply, _argument: Any, _request: Any) -> None:
    value = reply.json()
    message = value["choices"][0]["message"]
    message["reasoning_content"], message["content"] = message["content"], ""
    reply.set_json(value)


def _swap_vectors(reply: Reply, _argument: Any, _request: Any) -> None:
    value = reply.json()
    first, second = value["data"]
    first["embedding"], second["embedding"] = second["embedding"], first["embedding"]
    reply.set_json(value)


def _big_endian(reply: Reply, _argument: Any, _request: Any) -> None:
    value = reply.json()
    for entry in value["data"]:
        raw = base64.b64decode(entry["embedding"])
        numbers = struct.unpack(f"<{len(raw) // 4}f", raw)
        entry["embedding"] = base64.b64encode(struct.pack(f">{len(numbers)}f", *numbers)).decode()
    reply.set_json(value)


OPERATIONS: dict[str, Callable[[Reply, Any, Any], None]] = {
    **{name: _edit(name) for name in ("set", "delete", "add", "repeat", "reverse", "drop-items", "counter", "rename")},
    **{name: _part(name) for name in ("each", "last", "second")},
    "status": _status,
    "header": _header,
    "header-parameter": _header_parameter,
    "json": _json,
    "body": _body,
    "wire": _wire,
    "bytes": _bytes,
    "events": _events,
    "second-choice": _second_choice,
    "second-call": _second_call,
    "append-stop": _append_stop,
    "move-to-reasoning": _move_to_reasoning,
    "swap-vectors": _swap_vectors,
    "big-endian": _big_endian,
}
