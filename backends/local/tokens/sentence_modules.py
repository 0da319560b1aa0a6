"""What a sentence-transformers directory says of how vectors are made of what the model gives."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from specserve.spec.errors import BackendLoadError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

_POOLINGS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True)
class Modules:
    """The steps after the model.

    Attributes:
        pooling: ``mean`` over the tokens, or the vector at ``cls``, or at the ``lasttoken``.
        normalize: Whether vectors have length 1.
        max_length: Longest input that the model's authors intend, special tokens counted; None if they do not say.
    """

    pooling: str = "mean"
    normalize: bool = False
    max_length: int | None = None


def read_modules(directory: Path, poolings: Collection[str]) -> Modules:
    """Read the configuration files, which may be absent.

    Args:
        directory: The model's.
        poolings: Those that can be done.

    Raises:
        BackendLoadError: They ask for a step that is not known here.
    """
    try:
        return _modules(directory, poolings)
    except (AttributeError, LookupError, TypeError) as error:
        raise BackendLoadError(f"{directory}: what its modules are makes no sense ({type(error).__name__})") from error


def _modules(directory: Path, poolings: Collection[str]) -> Modules:
    pooling, normalize = "mean", False
    for step in _read(directory / "modules.json") or ():
        match step["type"].rpartition(".")[2]:
            case "Transformer":
                pass
            case "Pooling":
                pooling = _pooling(directory / step["path"] / "config.json", poolings)
            case "Normalize":
                normalize = True
            case other:
                raise BackendLoadError(f"{directory / 'modules.json'}: a step of type {other!r} is not supported")
    length = (_read(directory / "sentence_bert_config.json") or {}).get("max_seq_length")
    if length is not None and not (isinstance(length, int) and length > 0):
        raise BackendLoadError(f"{directory}: a max_seq_length of {length!r} makes no sense")
    return Modules(pooling, normalize, length)


def _pooling(path: Path, poolings: Collection[str]) -> str:
    config = _read(path) or {}
    modes = [name for name, on in config.items() if name.startswith("pooling_mode_") and on is True]
    if len(modes) != 1 or _POOLINGS.get(modes[0]) not in poolings:
        raise BackendLoadError(f"{path}: pooling by {' and '.join(modes) or 'nothing'} is not supported")
    return _POOLINGS[modes[0]]


def _read(path: Path) -> Any:
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, RecursionError, ValueError) as error:
        raise BackendLoadError(f"cannot read {path}: {error}") from error
