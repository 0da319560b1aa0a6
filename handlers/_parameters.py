"""Three fates of a parameter: it takes effect, it is refused, or it is a hint. What has no effect is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from specserve.spec.document import Parameter
from specserve.spec.errors import InvalidRequest, UnsupportedParameter

_PLAIN = frozenset({"role", "content", "name"})
_SPEAKERS = frozenset({"assistant", "developer", "system", "user"})


def refuse_unsupported(
    policy: Mapping[str, Parameter], body: Mapping[str, Any], supported: frozenset[str], ignore: Callable[[str], None]
) -> None:
    """Refuse what the model cannot give effect to.

    Args:
        policy: The operation's parameters as the spec describes them: which are hints, which values mean "off".
        body: The request body, validated against the spec.
        supported: What the backend declared for this operation of this model; see `Capabilities`.
        ignore: Is told each hint that has no effect.

    Raises:
        UnsupportedParameter: Names the first such parameter, or the part of a message.
        InvalidRequest: `stream_options` without `stream`.
    """
    for name, value in body.items():
        if name in supported:
            continue
        parameter = policy[name]
        if parameter.hint:
            ignore(name)
        elif not parameter.handled and not parameter.is_off(value):
            raise UnsupportedParameter(f"This model does not support '{name}'.", param=name)
    _check_stream_options(body, supported)
    for path, feature in _message_features(body.get("messages") or ()):
        if feature not in supported:
            raise UnsupportedParameter(f"This model does not support '{path}'.", param=path)


def _check_stream_options(body: Mapping[str, Any], supported: frozenset[str]) -> None:
    options = body.get("stream_options")
    if options and not body.get("stream"):
        raise InvalidRequest("'stream_options' is only allowed when 'stream' is true.", param="stream_options")
    if options and options.get("include_obfuscation"):
        raise UnsupportedParameter("This server does not pad its streams.", param="stream_options.include_obfuscation")
    if options and options.get("include_usage") and options.get("continuous_usage_stats"):
        param = "stream_options.continuous_usage_stats"
        if param not in supported:
            raise UnsupportedParameter("This model tells the usage of a stream only at its end.", param=param)


def _message_features(messages: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Each thing beyond plain text that the messages use: (where, feature of `Capabilities`)."""
    for i, message in enumerate(messages):
        if message.keys() <= _PLAIN and isinstance(message.get("content"), str) and message["role"] in _SPEAKERS:
            continue
        at = f"messages[{i}]"
        if message["role"] in {"tool", "function"}:
            yield at, "messages.tool"
        for key in ("tool_calls", "function_call"):
            if message.get(key):
                yield f"{at}.{key}", "messages.tool"
        if message.get("audio"):
            yield f"{at}.audio", "messages.audio"
        content = message.get("content")
        if isinstance(content, list):
            for j, part in enumerate(content):
                if part["type"] not in {"text", "refusal"}:
                    yield f"{at}.content[{j}]", f"messages.content.{part['type']}"
