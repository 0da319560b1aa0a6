"""Fill the placeholders of an exchange for one target."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from specserve.conformance.evidence import MISSING, Answer, Sent, dig
from specserve.conformance.exchanges import Exchange
from specserve.conformance.target import Target

UNKNOWN_MODEL = "specserve-conformance-no-such-model"
WRONG_KEY = "specserve-conformance-wrong-key"
FILLER_BYTES = 2 * 1024 * 1024
TOO_LONG_WORDS = 200_000
DEEP = 10_000
LONG_TEXT = "geese " * 400


class NotRendered(Exception):
    """A placeholder cannot be filled, since the answer that it takes from did not come."""


def render(exchange: Exchange, target: Target, earlier: Mapping[str, Answer]) -> Sent:
    """Make the request.

    Raises:
        NotRendered: It needs an answer that is not there.
    """
    values = _Values(exchange, target, earlier)
    body = values.fill(exchange.body)
    path = values.fill(exchange.path)
    content = str(values.fill(exchange.raw)).encode() if exchange.raw is not None else b""
    headers = [("accept", "text/event-stream" if exchange.stream else "application/json"), *target.headers]
    headers += [("accept-encoding", "identity"), *exchange.headers.items(), *_authorization(exchange, target)]
    if exchange.body is not None:
        content = json.dumps(body, ensure_ascii=False).encode()
    if exchange.method == "POST":
        headers.append(("content-type", exchange.content_type))
    if exchange.encoding == "gzip":
        content = gzip.compress(content, mtime=0)
        headers.append(("content-encoding", "gzip"))
    return Sent(
        exchange=exchange.name,
        operation=exchange.operation,
        method=exchange.method,
        url=target.url + path,
        headers=tuple(headers),
        body=content,
        json=body,
        stream=exchange.stream,
        valid=exchange.valid,
    )


def nonce(seed: int) -> str:
    """A word that no model says by itself, the same for the same seed."""
    return "w" + hashlib.sha256(str(seed).encode()).hexdigest()[:6]


def _authorization(exchange: Exchange, target: Target) -> list[tuple[str, str]]:
    key = target.api_key
    match exchange.auth:
        case "wrong":
            return [("authorization", f"Bearer {WRONG_KEY}")]
        case "scheme":
            return [("authorization", f"Specserve {key}")]
        case "lower":
            return [("authorization", f"bearer {key}")]
        case "key" if key:
            return [("authorization", f"Bearer {key}")]
        case _:
            return []


class _Values:
    def __init__(self, exchange: Exchange, target: Target, earlier: Mapping[str, Answer]) -> None:
        self._target = target
        self._earlier = earlier.get(exchange.after) if exchange.after else None
        self._known: dict[str, Callable[[], Any]] = {
            "$model": lambda: target.model,
            "$embedding_model": lambda: target.embedding_model,
            "$unknown_model": lambda: UNKNOWN_MODEL,
            "$nonce": lambda: nonce(target.seed),
            "$filler": lambda: "geese " * (FILLER_BYTES // 6),
            "$too_long": lambda: "geese " * TOO_LONG_WORDS,
            "$long_text": lambda: LONG_TEXT,
            "$deep": lambda: "[" * DEEP + "]" * DEEP,
            "$piece": self._piece,
            "$message": self._message,
            "$tool_result": self._tool_result,
        }

    def fill(self, value: Any) -> Any:
        if isinstance(value, str):
            if value in self._known:
                return self._known[value]()
            if value.startswith("/models/$"):
                return "/models/" + self._path(value.removeprefix("/models/"))
            return value
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if isinstance(value, dict):
            return {key: self.fill(item) for key, item in value.items()}
        return value

    def _path(self, name: str) -> str:
        if name == "$model_encoded":  # every letter percent-encoded names the same resource (RFC 3986, 6.2.2.2)
            return "".join(f"%{byte:02X}" for byte in self._target.model.encode())
        return quote(str(self._known[name]()), safe="/")

    def _piece(self) -> str:
        """A few letters out of the middle of the earlier answer, so that stopping at them cuts it."""
        text = self._need().text
        words = [match for match in re.finditer(r"[A-Za-z]{2,}", text) if match.start() > 0]
        if words:
            return words[len(words) // 2][0][:4]
        if len(text) > 1:
            return text[len(text) // 2]
        msg = f"{self._need().sent.exchange} gave no text to stop at"
        raise NotRendered(msg)

    def _message(self) -> Any:
        message = self._need().get("choices", 0, "message")
        if message is MISSING or not isinstance(message, dict):
            msg = "there is no message to send back"
            raise NotRendered(msg)
        return {key: value for key, value in message.items() if key in {"role", "content", "tool_calls"}}

    def _tool_result(self) -> Any:
        identifier = dig(self._message(), "tool_calls", 0, "id")
        if not isinstance(identifier, str):
            msg = "there is no tool call to answer"
            raise NotRendered(msg)
        return {"role": "tool", "tool_call_id": identifier, "content": '{"weather": "sunny"}'}

    def _need(self) -> Answer:
        if self._earlier is None or self._earlier.status != 200:
            msg = "the answer that it follows did not come"
            raise NotRendered(msg)
        return self._earlier
