"""What the files of a text model say about it, beside its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from specserve.backends.local.tokens.fast_tokenizer import FastTokenizer, tokenizer_from_gguf
from specserve.backends.local.tokens.gguf import Value, read_metadata
from specserve.spec.errors import BackendLoadError

if TYPE_CHECKING:
    from pathlib import Path

_SPECIAL = ("bos_token", "eos_token", "pad_token")

# Tokens that end an answer in chat formats. A file often names only one of those its model was trained to end with.
_ENDS = frozenset(
    {"<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<|eom_id|>", "<|end|>", "<end_of_turn>", "</s>"}
)


@dataclass(frozen=True)
class ModelFiles:
    """A text model's files, read.

    Attributes:
        path: A GGUF file, or a directory.
        tokenizer: Its tokenizer.
        context_length: Most tokens of prompt and answer together.
        chat_template: Jinja text, or None for a base model.
        special_tokens: The texts of bos, eos and pad, those it has.
        end_ids: Token ids that end an answer.
    """

    path: Path
    tokenizer: FastTokenizer
    context_length: int
    chat_template: str | None
    special_tokens: Mapping[str, str]
    end_ids: tuple[int, ...]


def read_gguf(path: Path, custom: FastTokenizer | None = None, context_length: int | None = None) -> ModelFiles:
    """Read a GGUF file's metadata.

    Args:
        path: The file.
        custom: A tokenizer to take in place of the file's own.
        context_length: In place of what the file says.

    Raises:
        BackendLoadError: The file is damaged, or of a kind that is not known here.
    """
    metadata = read_metadata(path)
    tokens = metadata.get("tokenizer.ggml.tokens")
    texts = [str(token) for token in tokens] if isinstance(tokens, list) else []
    special = {}
    for name, key in zip(_SPECIAL, ("bos_token_id", "eos_token_id", "padding_token_id"), strict=True):
        token_id = metadata.get(f"tokenizer.ggml.{key}")
        if isinstance(token_id, int) and 0 <= token_id < len(texts):
            special[name] = texts[token_id]
    named = [metadata.get(f"tokenizer.ggml.{key}") for key in ("eos_token_id", "eot_token_id", "eom_token_id")]
    tokenizer = custom or tokenizer_from_gguf(metadata)
    ends = {token_id for token_id in named if isinstance(token_id, int) and 0 <= token_id < tokenizer.size}
    ends |= {i for i, text in enumerate(texts) if text in _ENDS and tokenizer.token_bytes(i) == b""}
    template = metadata.get("tokenizer.chat_template")
    return ModelFiles(
        path=path,
        tokenizer=tokenizer,
        context_length=context_length
        or _positive(metadata.get(f"{metadata.get('general.architecture')}.context_length"), path),
        chat_template=template if isinstance(template, str) else None,
        special_tokens=special,
        end_ids=tuple(sorted(ends)),
    )


def read_directory(path: Path, tokenizer: FastTokenizer, context_length: int | None = None) -> ModelFiles:
    """Read the configuration files of a directory as transformers writes it.

    Args:
        path: The directory.
        tokenizer: The model's tokenizer.
        context_length: In place of what the files say.

    Raises:
        BackendLoadError: A file is damaged, or none tells the context length.
    """
    config = read_json(path / "config.json")
    config = config | _table(config.get("text_config"))
    about = read_json(path / "tokenizer_config.json")
    special = {name: _text_of(about[name]) for name in _SPECIAL if about.get(name)}
    ends: set[int] = set()
    for given in (read_json(path / "generation_config.json").get("eos_token_id"), config.get("eos_token_id")):
        ends.update(
            token_id
            for token_id in (given if isinstance(given, list) else [given])
            if isinstance(token_id, int) and 0 <= token_id < tokenizer.size
        )
    for text in {special.get("eos_token", ""), *_ENDS}:
        ids = tokenizer.encode(text, add_special_tokens=False) if text else []
        if len(ids) == 1 and tokenizer.token_bytes(ids[0]) == b"":
            ends.add(ids[0])
    return ModelFiles(
        path=path,
        tokenizer=tokenizer,
        context_length=context_length
        or _positive(config.get("max_position_embeddings", config.get("n_positions")), path),
        chat_template=_chat_template(path, about),
        special_tokens=special,
        end_ids=tuple(sorted(ends)),
    )


def _chat_template(path: Path, about: Mapping[str, Any]) -> str | None:
    file = path / "chat_template.jinja"
    if file.exists():
        try:
            return file.read_text("utf-8")
        except (OSError, ValueError) as error:
            raise BackendLoadError(f"cannot read {file}: {error}") from error
    template = about.get("chat_template") or read_json(path / "chat_template.json").get("chat_template")
    if isinstance(template, list):  # several, by name
        named = (_table(entry) for entry in template)
        template = next((entry.get("template") for entry in named if entry.get("name") == "default"), None)
    return template if isinstance(template, str) else None


def _positive(value: Value | None, path: Path) -> int:
    if isinstance(value, int) and value > 0:
        return value
    raise BackendLoadError(f"{path} does not tell the context length; give the option 'context_length'")


def _text_of(token: Any) -> str:
    return str(token.get("content", "")) if isinstance(token, dict) else str(token)


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def read_json(path: Path) -> dict[str, Any]:
    """The table in a JSON file; an empty one if there is no such file.

    Raises:
        BackendLoadError: It cannot be read.
    """
    if not path.exists():
        return {}
    try:
        return _table(json.loads(path.read_text("utf-8")))
    except (OSError, RecursionError, ValueError) as error:
        raise BackendLoadError(f"cannot read {path}: {error}") from error
