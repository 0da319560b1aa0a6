"""What IBM's list of foundation models says of a model."""

from __future__ import annotations

import datetime as dt
import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from specserve.spec.errors import BackendLoadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CHAT, GENERATION, EMBEDDING = "text_chat", "text_generation", "embedding"
IMAGES, AUDIO, TOOLS = "image_chat", "audio_chat", "function_calling"
TEXT = frozenset({CHAT, GENERATION})
OFFERED = TEXT | {EMBEDDING}
"""Functions of which this server offers something."""


@dataclass(frozen=True)
class ModelSpec:
    """One entry of the list.

    Attributes:
        id: IBM's name of the model, such as ``ibm/granite-3-3-8b-instruct``.
        abilities: Ids of its functions and of its tasks.
        context_length: Most tokens of prompt and answer together.
        max_output_tokens: Most tokens of an answer.
        embedding_dimensions: Length of its vectors.
        withdrawn_on: The day from which on it is offered no more, if that is known.
    """

    id: str
    abilities: frozenset[str]
    context_length: int | None
    max_output_tokens: int | None
    embedding_dimensions: int | None
    withdrawn_on: dt.date | None


def find_spec(model_id: str, resources: Sequence[Any], today: dt.date) -> ModelSpec:
    """The entry of a model that can be used.

    Args:
        model_id: As in `ModelSpec`.
        resources: The list, as IBM sends it.
        today: Decides whether the model was withdrawn.

    Raises:
        BackendLoadError: It is not in the list, was withdrawn, or does nothing that this server offers.
    """
    entries = _by_id(resources)
    entry = entries.get(model_id)
    if entry is None:
        near = difflib.get_close_matches(model_id, entries, n=3, cutoff=0.4)
        hint = f"; near to it are {', '.join(near)}" if near else ""
        raise BackendLoadError(f"the service offers no model {model_id!r}{hint}")
    spec = _read(entry)
    if _is_withdrawn(entry, spec, today):
        raise BackendLoadError(f"the service has withdrawn the model {model_id!r}")
    if not spec.abilities & OFFERED:
        can = ", ".join(_ids(entry.get("functions"))) or "nothing"
        raise BackendLoadError(f"the model {model_id!r} neither generates text nor embeds; it can do {can}")
    return spec


def usable_specs(resources: Sequence[Any], today: dt.date) -> Sequence[ModelSpec]:
    """All that can be used, in the order of the list; see `find_spec`."""
    specs = [(entry, _read(entry)) for entry in _by_id(resources).values()]
    return [spec for entry, spec in specs if spec.abilities & OFFERED and not _is_withdrawn(entry, spec, today)]


def _by_id(resources: Sequence[Any]) -> dict[str, dict[str, Any]]:
    entries = [entry for entry in resources if isinstance(entry, dict)]
    return {entry["model_id"]: entry for entry in entries if isinstance(entry.get("model_id"), str)}


def _is_withdrawn(entry: dict[str, Any], spec: ModelSpec, today: dt.date) -> bool:
    return _withdrawn(entry) or (spec.withdrawn_on is not None and spec.withdrawn_on <= today)


def _read(entry: dict[str, Any]) -> ModelSpec:
    limits = entry.get("model_limits")
    limits = limits if isinstance(limits, dict) else {}
    tasks = entry.get("task_ids")
    return ModelSpec(
        id=entry["model_id"],
        abilities=frozenset([*_ids(entry.get("functions")), *(tasks if isinstance(tasks, list) else ())]),
        context_length=_count(limits.get("max_sequence_length")),
        max_output_tokens=_count(limits.get("max_output_tokens")),
        embedding_dimensions=_count(limits.get("embedding_dimension") or entry.get("embedding_dimension")),
        withdrawn_on=_withdrawal(entry),
    )


def _ids(items: Any) -> Iterable[str]:
    return [str(item["id"]) for item in items or () if isinstance(item, dict) and "id" in item]


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _stages(entry: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        stage for stage in entry.get("lifecycle") or () if isinstance(stage, dict) and stage.get("id") == "withdrawn"
    ]


def _withdrawn(entry: dict[str, Any]) -> bool:
    return any(stage.get("current_state") is True for stage in _stages(entry))


def _withdrawal(entry: dict[str, Any]) -> dt.date | None:
    for stage in _stages(entry):
        try:
            return dt.date.fromisoformat(str(stage.get("start_date")))
        except ValueError:
            continue
    return None
