"""Bytes of tokens in, whole characters out."""

from __future__ import annotations

import codecs


class Detokenizer:
    """Decodes the UTF-8 of one sequence piece by piece.

    A character that is spread over tokens comes out with its last byte, never in parts. Bytes that are no UTF-8 become
    U+FFFD, so that nothing a model says can raise.
    """

    __slots__ = ("_decoder",)

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, data: bytes) -> str:
        """Take the bytes of the next token; return the characters that are complete now, perhaps none."""
        return self._decoder.decode(data)

    @property
    def pending(self) -> bool:
        """Whether a character has begun and waits for the rest of its bytes."""
        return bool(self._decoder.getstate()[0])

    def flush(self) -> str:
        """End the sequence: U+FFFD for a character that was cut off, else nothing."""
        return self._decoder.decode(b"", final=True)
