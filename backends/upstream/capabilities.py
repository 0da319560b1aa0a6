"""What an upstream model can do, as far as it is known: by the operator's word, and by the upstream's own."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from specserve.backends.base import Capabilities
from specserve.spec.document import load, operations, parameters
from specserve.spec.errors import BackendLoadError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from specserve.backends.upstream.options import UpstreamOptions

_FEATURES = {
    "createChatCompletion": frozenset(
        {
            "messages.audio",
            "messages.content.file",
            "messages.content.image_url",
            "messages.content.input_audio",
            "messages.tool",
            "stream_options.continuous_usage_stats",
        }
    ),
    "createCompletion": frozenset({"stream_options.continuous_usage_stats"}),
}
_LENGTHS = ("max_model_len", "context_length", "context_window")  # vLLM; OpenRouter; Groq


@cache
def by_tag() -> Mapping[str, Sequence[str]]:
    """Tag in small letters, as the option `operations` has it -> the operations that models do."""
    found: dict[str, list[str]] = {}
    for operation in operations(load()):
        if operation.ability is not None:
            found.setdefault(operation.tag.lower(), []).append(operation.operation_id)
    return found


@cache
def everything() -> dict[str, frozenset[str]]:
    """OperationId -> every parameter and feature that the contract has."""
    document = load()
    return {
        operation: frozenset(parameters(document, operation)) | _FEATURES.get(operation, frozenset())
        for named in by_tag().values()
        for operation in named
    }


def check_names(options: UpstreamOptions) -> None:
    """Find misspelt names in `refuse` and `rename`, and in `pass_through` those that need none.

    Raises:
        BackendLoadError: The contract has no such parameter.
    """
    known = _every_name()
    for option in ("refuse", "rename"):
        for name in getattr(options, option):
            if name not in known:
                raise BackendLoadError(f"option {option!r}: there is no parameter {name!r}")
    published = _published_names()
    for name in options.pass_through:
        if name in published:
            raise BackendLoadError(f"option 'pass_through': {name!r} is a parameter of the contract")


@cache
def _every_name() -> frozenset[str]:
    return frozenset().union(*everything().values())


@cache
def _published_names() -> frozenset[str]:
    """Those that OpenAI has. An extension of ours can be passed through too: the upstream may take other values."""
    document = load()
    names = [parameters(document, operation).values() for operation in everything()]
    return frozenset(parameter.name for those in names for parameter in those if not parameter.extension)


def declared(options: UpstreamOptions, relayed: Sequence[str], entry: Mapping[str, Any]) -> Capabilities:
    """What the model can do.

    Args:
        options: The operator's word.
        relayed: The operations that the backend can relay.
        entry: The model's entry in the upstream's list of models, or nothing. Another specserve tells there what each
            model does; others tell the length of the context at most.
    """
    told = entry.get("capabilities")
    told = told if isinstance(told, dict) else {}
    does = told.get("operations")
    able = {}
    for operation in (name for tag in options.operations for name in by_tag()[tag] if name in relayed):
        names = everything()[operation]
        if isinstance(does, dict):
            if operation not in does:
                continue
            said = does[operation]
            names &= frozenset(one for one in said if isinstance(one, str)) if isinstance(said, list) else frozenset()
        able[operation] = names - frozenset(options.refuse)
    lengths = [entry.get(name) for name in _LENGTHS] + [told.get("context_length")]
    return Capabilities(
        able,
        context_length=next((one for one in lengths if _positive(one)), None),
        max_output_tokens=_positive(told.get("max_output_tokens")),
        embedding_dimensions=_positive(told.get("embedding_dimensions")),
    )


def _positive(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
