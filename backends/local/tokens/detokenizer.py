"""Bytes of tokens in, whole characters out."""

from __future__ import annotations

import codecs

_UTF_8 = codecs.getincrementaldecoder("utf-8")


class Detokenizer:
    """Decodes the UTF-8 of one sequence piece by piece.

    A character that is spread over tokens comes out with its last byte, never in parts. Bytes that are no UTF-8 become
    U+FFFD, so that nothing a model says can raise.
    """

    __slots__ = ("_decoder", "pending")

    pending: bool
    """Whether a character has begun and waits for the rest of its bytes."""

    def __init__(self) -> None:
        self._decoder = _UTF_8(errors="replace")
        self.pending = False

    def push(self, data: bytes) -> str:
        """Take the bytes of the next token; return the characters that are complete now, perhaps none."""
        if not self.pending and data.isascii():
            return data.decode()
        text = self._decoder.decode(data)
        self.pending = bool(self._decoder.getstate()[0])
        return text

    def flush(self) -> str:
        """End the sequence: U+FFFD for a character that was cut off, else nothing."""
        self.pending = False
        return self._decoder.decode(b"", final=True)
