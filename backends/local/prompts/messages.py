"""Chat messages as the request has them -> as chat templates know them; and generated models -> plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, RootModel

from specserve.spec.errors import UnsupportedParameter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PASSED_ON = ("name", "tool_calls", "tool_call_id", "reasoning_content")
_PLAIN = frozenset({bool, dict, float, int, str, type(None)})


def plain(value: Any) -> Any:
    """`value` with the generated wrappers taken off: root models become what they hold, objects become dicts."""
    if type(value) in _PLAIN:  # asking pydantic's classes takes longer than all else here
        return value
    if isinstance(value, RootModel):
        return plain(value.root)
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_unset=True)
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def template_messages(messages: Sequence[Any]) -> list[dict[str, Any]]:
    """Messages for a chat template.

    `developer` becomes `system`, the name that templates know; text parts are joined with nothing between; absent
    content becomes an empty string, or the words of the assistant's refusal; a `name` is passed on.

    Raises:
        UnsupportedParameter: A part is no text; `param` names it.
    """
    return [_template_message(plain(message), f"messages[{at}].content") for at, message in enumerate(messages)]


def _template_message(message: Mapping[str, Any], where: str) -> dict[str, Any]:
    _refuse_other_calls(message, where.removesuffix(".content"))
    role = "system" if message["role"] == "developer" else message["role"]
    content = message.get("content")
    rendered = {"role": role, "content": _text(message.get("refusal") if content is None else content, where)}
    for key in _PASSED_ON:
        if message.get(key):
            rendered[key] = message[key]
    return rendered


def _refuse_other_calls(message: Mapping[str, Any], where: str) -> None:
    if message["role"] == "function" or message.get("function_call"):
        raise UnsupportedParameter("This model takes calls and results of tools only.", param=where)
    for at, call in enumerate(message.get("tool_calls") or ()):
        if call["type"] != "function":
            raise UnsupportedParameter("This model calls functions only.", param=f"{where}.tool_calls[{at}]")


def _text(content: str | list[Mapping[str, Any]] | None, where: str) -> str:
    if not isinstance(content, list):
        return content or ""
    texts = []
    for at, part in enumerate(content):
        if part["type"] not in {"text", "refusal"}:
            raise UnsupportedParameter("This model reads text only.", param=f"{where}[{at}]")
        texts.append(part[part["type"]])
    return "".join(texts)
