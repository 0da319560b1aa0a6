"""An answer that can be taken apart, changed and put together again."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Reply:
    """What the proxy sends back.

    Attributes:
        status: The HTTP status.
        headers: By lower-case name; the framing is added when it is sent.
        body: The bytes.
        wire: How the framing is broken, if it is: ``length-too-long``, ``cut`` or ``hang-up``.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    wire: str | None = None

    @property
    def is_stream(self) -> bool:
        """Whether it is an event stream."""
        return self.headers.get("content-type", "").startswith("text/event-stream")

    def copy(self) -> Reply:
        """An independent copy."""
        return copy.deepcopy(self)

    def json(self) -> Any:
        """The body as JSON; None if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def set_json(self, value: Any) -> None:
        """Put JSON in place of the body."""
        self.headers["content-type"] = "application/json"
        self.body = json.dumps(value, ensure_ascii=False).encode()

    def events(self) -> list[Any]:
        """The data of each event: JSON, or text where it is none."""
        return [_load(event.removeprefix("data: ")) for event in self.body.decode().split("\n\n") if event]

    def set_events(self, events: list[Any]) -> None:
        """Put events in place of the body."""
        lines = [event if isinstance(event, str) else json.dumps(event, ensure_ascii=False) for event in events]
        self.body = "".join(f"data: {line}\n\n" for line in lines).encode()


def change(value: Any, place: str, function: Callable[[Any, str | int], None]) -> None:
    """Call a function with each container and key that a place (``/a/*/b``) leads to, where the way exists."""
    steps = place.strip("/").split("/") if place.strip("/") else []
    nodes = [value]
    for step in steps[:-1]:
        found: list[Any] = []
        for node in nodes:
            if step == "*" and isinstance(node, list):
                found += node
            elif isinstance(node, list) and step.isdigit() and int(step) < len(node):
                found.append(node[int(step)])
            elif isinstance(node, dict) and step in node:
                found.append(node[step])
        nodes = found
    for node in nodes:
        if isinstance(node, dict):
            function(node, steps[-1])
        elif isinstance(node, list):
            keys = range(len(node)) if steps[-1] == "*" else [int(steps[-1])] if steps[-1].isdigit() else []
            for key in keys:
                function(node, key)


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
