"""Keep keys out of everything that is written down."""

from __future__ import annotations

import re
from collections.abc import Iterable

MASK = "***"

_SECRET_HEADERS = frozenset({"authorization", "api-key", "x-api-key", "cookie", "set-cookie", "proxy-authorization"})
_LOOKS_LIKE_A_KEY = re.compile(r"\b(sk|pk|hf|gsk|xai)[-_][A-Za-z0-9_-]{12,}")


class Redactor:
    """Masks the keys that it was told, and what looks like one."""

    def __init__(self, secrets: Iterable[str | None]) -> None:
        self._secrets = sorted({secret for secret in secrets if secret}, key=len, reverse=True)

    def text(self, text: str) -> str:
        """Mask keys in a text."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return _LOOKS_LIKE_A_KEY.sub(rf"\1-{MASK}", text)

    def headers(self, headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Mask the values of headers that carry keys, and keys in the others."""
        return [(name, MASK if name.lower() in _SECRET_HEADERS else self.text(value)) for name, value in headers]
