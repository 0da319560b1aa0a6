"""What is judged, and within which limits: from the command line, a TOML file, or both."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from specserve.conformance import families

KEY_VARIABLE = "OPENAI_API_KEY"


class BadTarget(ValueError):
    """The description of the target is wrong; the message says how."""


@dataclass(frozen=True)
class Limits:
    """Hard caps on what a run may cost. None is no cap."""

    requests: int | None = None
    tokens: int | None = None
    seconds: float | None = None
    usd: float | None = None


@dataclass(frozen=True)
class Target:
    """A server, and what its owner says it can do.

    Attributes:
        base_url: With the version part, such as ``http://127.0.0.1:8000/v1``.
        api_key: Sent as bearer token; never written anywhere.
        model: The chat and completion model; empty takes the first that the server lists.
        embedding_model: Empty takes `model`.
        profiles: What the server claims to speak, beside ``core``.
        allow: Classes of requests that need a yes: ``costly``, ``destructive``.
        limits: What a run may cost.
        timeout: Seconds that one exchange may take.
        seed: Makes fuzzing and nonces repeatable.
        headers: Sent with every request, such as a tenant's name.
    """

    base_url: str
    api_key: str | None = None
    model: str = ""
    embedding_model: str = ""
    profiles: tuple[str, ...] = ("core",)
    allow: frozenset[str] = frozenset()
    limits: Limits = field(default_factory=Limits)
    timeout: float = 60.0
    seed: int = 20261121
    headers: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            msg = f"not an http(s) address: {self.base_url!r}"
            raise BadTarget(msg)
        if parts.query or parts.fragment or parts.username:
            msg = "the base address takes no user, query or fragment"
            raise BadTarget(msg)
        for profile in self.profiles:
            if profile not in families.profiles():
                msg = f"unknown profile {profile!r}; there are: {', '.join(families.profiles())}"
                raise BadTarget(msg)
        for name in self.allow - {"costly", "destructive"}:
            msg = f"unknown class {name!r}; there are: costly, destructive"
            raise BadTarget(msg)
        if self.timeout <= 0:
            msg = "the timeout must be positive"
            raise BadTarget(msg)

    @property
    def url(self) -> str:
        """The base address without a slash at its end."""
        return self.base_url.rstrip("/")

    def with_models(self, model: str) -> Target:
        """The same with both models known."""
        chosen = self.model or model
        return replace(self, model=chosen, embedding_model=self.embedding_model or chosen)


_KEYS: dict[str, type | tuple[type, ...]] = {
    "base_url": str,
    "api_key_env": str,
    "model": str,
    "embedding_model": str,
    "profiles": list,
    "allow": list,
    "limits": dict,
    "timeout": (int, float),
    "seed": int,
    "headers": dict,
}


def read(path: Path) -> dict[str, Any]:
    """The settings of a TOML target file, named as `Target` names them.

    Raises:
        BadTarget: It is no TOML, or holds a key that means nothing.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{path}: {error}"
        raise BadTarget(msg) from error
    for key, value in data.items():
        if key not in _KEYS:
            msg = f"{path}: unknown key {key!r}; there are: {', '.join(_KEYS)}"
            raise BadTarget(msg)
        if not isinstance(value, _KEYS[key]):
            msg = f"{path}: {key} has the wrong type"
            raise BadTarget(msg)
    return data


def make(settings: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Target:
    """Make a target of settings, those of the command line already laid over those of a file.

    Raises:
        BadTarget: Something is missing or makes no sense.
    """
    if not settings.get("base_url"):
        msg = "name the server: its base address, such as http://127.0.0.1:8000/v1"
        raise BadTarget(msg)
    try:
        limits = Limits(**settings.get("limits", {}))
    except TypeError as error:
        msg = "limits are: requests, tokens, seconds, usd"
        raise BadTarget(msg) from error
    variable = settings.get("api_key_env") or KEY_VARIABLE
    key = settings.get("api_key") or environ.get(variable) or None
    declared = dict.fromkeys(("core", *settings.get("profiles", ())))
    if "all" in declared:
        declared.pop("all")
        declared = {**dict.fromkeys(families.profiles(by_name=False)), **declared}
    return Target(
        base_url=settings["base_url"],
        api_key=key,
        model=settings.get("model") or "",
        embedding_model=settings.get("embedding_model") or "",
        profiles=tuple(declared),
        allow=frozenset(settings.get("allow", ())),
        limits=limits,
        timeout=float(settings.get("timeout", 60.0)),
        seed=int(settings.get("seed", 20261121)),
        headers=tuple(settings.get("headers", {}).items()),
    )
