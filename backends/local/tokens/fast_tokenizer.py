"""Tokenizers on the `tokenizers` library: safe in threads, no length limit, and ready before the engine is.

OpenVINO's own tokenizer is not used: made from a GGUF file it takes seconds to open, and it silently cuts a text
after 8192 tokens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specserve.backends.local.engine import Tokenizer
from specserve.backends.local.marks import TOOL_MARKS
from specserve.backends.local.tokens.guarded_tokenizer import GuardedTokenizer, encoded
from specserve.spec.errors import BackendLoadError

if TYPE_CHECKING:
    import tokenizers
    from tokenizers.pre_tokenizers import PreTokenizer

    from specserve.backends.local.tokens.gguf import Value

_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
_MOST_TOKENS = 1 << 22  # a large vocabulary has a tenth of that
_NORMAL, _CONTROL, _USER_DEFINED = 1, 3, 4  # token types in a GGUF file

# How llama.cpp's names of pre-tokenizers split a text before the byte-pair merges.
_GPT2 = ""
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_DIGITS_APART = "digits apart"
_SPLITS = {
    "gpt-2": _GPT2,
    "smollm": _DIGITS_APART,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
}


class FastTokenizer(Tokenizer):
    """A `tokenizers.Tokenizer`, with the exact bytes of every token."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, pieces: Sequence[bytes]) -> None:
        self._tokenizer = tokenizer
        self._pieces = pieces
        self._guarded = GuardedTokenizer(tokenizer)
        self._longest = _longest_token(tokenizer)

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Token ids of `text`; special tokens that stand in the text as text are recognised."""
        return encoded(self._tokenizer, text, add_special_tokens=add_special_tokens)

    def least_tokens(self, text: str) -> int:
        """At least how many tokens `text` is, told without tokenising it."""
        return -(-len(text) // self._longest) if self._longest else 0

    @property
    def control_tokens(self) -> Mapping[str, int]:
        """The texts of the special tokens, and their ids."""
        return self._guarded.control_tokens

    def encode_guarded(self, text: str, guard: str) -> list[int]:
        """Token ids of `text` without `guard`, where a special token with `guard` in it is plain text."""
        return self._guarded.encode(text, guard)

    def token_bytes(self, token_id: int) -> bytes:
        """The exact bytes a token stands for, perhaps part of a character; empty for control tokens."""
        if token_id < 0:
            raise IndexError(token_id)
        return self._pieces[token_id]

    def text_bytes(self, token_ids: Sequence[int]) -> bytes:
        """The bytes of several tokens."""
        return b"".join(map(self._pieces.__getitem__, token_ids))

    @property
    def size(self) -> int:
        """Number of tokens; ids are below it."""
        return len(self._pieces)


def _longest_token(tokenizer: tokenizers.Tokenizer) -> int:
    """Most characters that one token can stand for; 0 if that has no bound.

    A normaliser may take characters away, an added token may take the white space around it, and an unknown token any
    text. Where there is none of these, a token stands for the bytes that it names, and a character is at least one.
    """
    added = tokenizer.get_added_tokens_decoder().values()
    if tokenizer.normalizer is not None or any(token.lstrip or token.rstrip for token in added):
        return 0
    if getattr(tokenizer.model, "unk_token", None) is not None:
        return 0
    return max(map(len, tokenizer.get_vocab(with_added_tokens=True)), default=0)


def tokenizer_from_gguf(metadata: Mapping[str, Value]) -> FastTokenizer:
    """Build the tokenizer that a GGUF file describes in its metadata.

    Raises:
        BackendLoadError: It is of a kind that is not known here, or makes no sense.
    """
    try:
        return _from_gguf(metadata)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise BackendLoadError(f"the GGUF file's tokenizer makes no sense: {error}") from error


def _from_gguf(metadata: Mapping[str, Value]) -> FastTokenizer:
    import tokenizers
    from tokenizers import models, processors

    if metadata.get("tokenizer.ggml.model") != "gpt2":
        raise BackendLoadError(
            f"the GGUF file's tokenizer is {metadata.get('tokenizer.ggml.model')!r}, and only byte-level BPE ('gpt2') "
            "can be read from GGUF; give the option 'tokenizer' with the model's tokenizer.json"
        )
    tokens = _strings(metadata, "tokenizer.ggml.tokens")
    merges = []
    for merge in _strings(metadata, "tokenizer.ggml.merges"):
        left, _, right = merge.partition(" ")
        merges.append((left, right))
    types = metadata.get("tokenizer.ggml.token_type")
    kinds = types if isinstance(types, list) else [_NORMAL] * len(tokens)
    try:
        model = models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges)
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(error) from error
    built = tokenizers.Tokenizer(model)
    built.pre_tokenizer = _pre_tokenizer(metadata.get("tokenizer.ggml.pre"))
    for kind, special in ((_CONTROL, True), (_USER_DEFINED, False)):
        built.add_tokens(
            [
                tokenizers.AddedToken(token, special=special, normalized=False)
                for token, its_kind in zip(tokens, kinds, strict=True)
                if its_kind == kind
            ]
        )
    bos = metadata.get("tokenizer.ggml.bos_token_id")
    if metadata.get("tokenizer.ggml.add_bos_token") is True and isinstance(bos, int):
        first = tokens[bos]
        built.post_processor = processors.TemplateProcessing(single=f"{first} $A", special_tokens=[(first, bos)])
    pieces = []
    for token, its_kind in zip(tokens, kinds, strict=True):
        if its_kind == _NORMAL:
            pieces.append(_from_byte_level(token))
        else:
            pieces.append(token.encode() if its_kind == _USER_DEFINED or token in TOOL_MARKS else b"")
    return FastTokenizer(built, pieces)


def tokenizer_from_json(path: Path) -> FastTokenizer:
    """Load a tokenizer.json, byte-level or SentencePiece style.

    Raises:
        BackendLoadError: It cannot be read, or does not tell the bytes of its tokens.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise BackendLoadError(f"cannot read {path}: {error.strerror}") from error
    return tokenizer_from_text(text, str(path))


def tokenizer_from_text(text: str, name: str) -> FastTokenizer:
    """As `tokenizer_from_json`, of what stands in such a file.

    Args:
        text: JSON.
        name: Where it comes from, for people.

    Raises:
        BackendLoadError: It is no tokenizer, or does not tell the bytes of its tokens.
    """
    import tokenizers

    try:
        described = json.loads(text)
        built = tokenizers.Tokenizer.from_str(text)
    except Exception as error:
        raise BackendLoadError(f"{name} is not a tokenizer: {error}") from error
    built.no_truncation()
    built.no_padding()
    kinds = set(_types(described.get("decoder")) + _types(described.get("pre_tokenizer")))
    if "ByteLevel" in kinds:
        to_bytes = _from_byte_level
    elif kinds & {"ByteFallback", "Metaspace"}:
        to_bytes = _from_sentencepiece
    else:
        raise BackendLoadError(f"{name} is neither a byte-level nor a SentencePiece tokenizer")
    vocabulary = built.get_vocab(with_added_tokens=True)
    size = max(vocabulary.values(), default=-1) + 1
    if size > _MOST_TOKENS:
        raise BackendLoadError(f"{name} has a token with the id {size - 1}, which is absurd")
    pieces = [b""] * size
    for token, token_id in vocabulary.items():
        pieces[token_id] = to_bytes(token)
    for token_id, added in built.get_added_tokens_decoder().items():
        hidden = added.special and added.content not in TOOL_MARKS
        pieces[token_id] = b"" if hidden else added.content.encode()
    return FastTokenizer(built, pieces)


def _strings(metadata: Mapping[str, Value], key: str) -> list[str]:
    value = metadata.get(key)
    if not isinstance(value, list):
        raise BackendLoadError(f"the GGUF file has no {key!r}; give the option 'tokenizer' with a tokenizer.json")
    return [str(item) for item in value]


def _pre_tokenizer(name: Value | None) -> PreTokenizer:
    from tokenizers import Regex, pre_tokenizers

    split = _SPLITS.get(str(name))
    if split is None:
        raise BackendLoadError(
            f"the GGUF file's pre-tokenizer {name!r} is not known here; give the option 'tokenizer' with the model's "
            "tokenizer.json"
        )
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split in (_GPT2, _DIGITS_APART))
    if split == _GPT2:
        return byte_level
    if split == _DIGITS_APART:
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(split), "isolated"), byte_level])


def _types(part: Any) -> list[str]:
    """Names of all components in one part of a tokenizer.json, which may be nested."""
    if isinstance(part, list):
        return [name for item in part for name in _types(item)]
    if not isinstance(part, dict):
        return []
    nested = part.get("decoders", part.get("pretokenizers", []))
    return [str(part.get("type")), *_types(nested)]


def _gpt2_alphabet() -> dict[str, int]:
    """The characters by which byte-level BPE writes bytes: printable ones stand for themselves."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


_ALPHABET = _gpt2_alphabet()


def _from_byte_level(token: str) -> bytes:
    try:
        return bytes([_ALPHABET[character] for character in token])
    except KeyError:  # not written in the alphabet, so plain text
        return token.encode()


def _from_sentencepiece(token: str) -> bytes:
    byte = _BYTE_PIECE.fullmatch(token)
    if byte:
        return bytes([int(byte[1], 16)])
    return token.replace("\u2581", " ").encode()
