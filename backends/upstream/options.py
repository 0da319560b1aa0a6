"""The settings of an upstream model, as the operator may give them in `options`."""

from __future__ import annotations

import os
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from specserve.backends.options import Options
from specserve.spec.errors import BackendLoadError

Seconds = Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)]

# Headers that the client sets by itself, and those that hold secrets, which have no place in a file.
_NOT_AS_OPTION = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "host",
        "te",
        "transfer-encoding",
        "upgrade",
    }
)
_SECRET = frozenset({"api-key", "authorization", "cookie", "proxy-authorization", "x-api-key"})
_TOKEN = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"  # noqa: S105  RFC 9110's word for a header's name

HeaderName = Annotated[str, Field(pattern=_TOKEN)]
HeaderValue = Annotated[str, Field(pattern=r"^[\x20-\x7e]*$")]


class UpstreamOptions(Options):
    """The options of an upstream model."""

    base_urls: list[str] = Field(
        default=[], description="Addresses of more servers of this model, such as `http://10.0.0.2:8000/v1`."
    )
    model: str | None = Field(
        default=None,
        min_length=1,
        description="The model's name at the upstream. By default our id of it, or the only one that it has. "
        "Where the id has a `*`: the names of the models that are meant, by default `*`, all.",
    )
    api_key_env: str | None = Field(
        default=None, min_length=1, description="The environment variable that holds the upstream's key."
    )
    headers: dict[HeaderName, HeaderValue] = Field(default={}, description="More headers of each request.")
    headers_env: dict[HeaderName, str] = Field(
        default={}, description="The same for secrets: header -> the environment variable that holds it."
    )
    operations: list[Literal["chat", "completions", "embeddings"]] = Field(
        default=["chat", "completions", "embeddings"],
        min_length=1,
        description="What the model does; anything else is refused here.",
    )
    refuse: list[str] = Field(
        default=[], description="Parameters and features that the model does not honour: refused here, by name."
    )
    rename: dict[str, str] = Field(
        default={}, description="Parameters that the upstream knows by another name: ours -> its."
    )
    pass_through: list[str] = Field(
        default=[],
        description="Request parameters outside the contract, such as `guided_regex`, that clients can send to this "
        "model: they go to the upstream as they are.",
    )
    stream_usage: bool = Field(
        default=True,
        description="Whether the upstream takes `stream_options.include_usage`. If not, clients cannot ask for it.",
    )
    connect_timeout: Seconds = Field(default=5.0, description="Seconds for a connection, TLS included.")
    first_byte_timeout: Seconds = Field(
        default=300.0,
        description="Seconds to the first event of a stream, or to a plain answer, whose first byte comes late.",
    )
    idle_timeout: Seconds = Field(default=60.0, description="Longest silence amid an answer, in seconds.")
    total_timeout: Seconds = Field(default=1800.0, description="Seconds for one attempt, to its end.")
    max_retries: int = Field(
        default=2, ge=0, le=10, description="More attempts at a request of which nothing has gone out yet."
    )
    max_retry_delay: float = Field(
        default=8.0,
        ge=0,
        le=600,
        allow_inf_nan=False,
        description="Longest wait before another attempt. A longer Retry-After is the client's to wait for.",
    )
    probe_interval: Seconds = Field(
        default=10.0, description="Seconds between health checks of an address that failed, or that has stand-ins."
    )
    max_answer_bytes: int = Field(default=64 * 1024 * 1024, ge=1024, description="Largest plain answer.")
    max_event_bytes: int = Field(default=4 * 1024 * 1024, ge=1024, description="Largest event of a stream.")

    @field_validator("base_urls")
    @classmethod
    def _check_urls(cls, urls: list[str]) -> list[str]:
        return [checked_url(url) for url in urls]

    @field_validator("headers", "headers_env")
    @classmethod
    def _check_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        for name in headers:
            if name.lower() in _NOT_AS_OPTION:
                raise ValueError(f"the header {name!r} is not to be set")
        return headers

    @field_validator("headers")
    @classmethod
    def _hold_no_secrets(cls, headers: dict[str, str]) -> dict[str, str]:
        for name in headers:
            if name.lower() in _SECRET:
                raise ValueError(
                    f"the header {name!r} is a secret: put it in the environment and name it in headers_env"
                )
        return headers

    def secrets(self) -> dict[str, SecretStr]:
        """The headers that the environment holds.

        Raises:
            BackendLoadError: A variable is not set, or holds what cannot stand in a header.
        """
        held = {name: _from_environment(variable, "headers_env") for name, variable in self.headers_env.items()}
        if self.api_key_env is not None:
            key = _from_environment(self.api_key_env, "api_key_env").get_secret_value()
            held["Authorization"] = SecretStr(f"Bearer {key}")
        return held


def checked_url(url: str) -> str:
    """A base URL without its trailing slash.

    Raises:
        ValueError: It is none, or holds what does not belong there. The URL is not repeated: it may hold a key.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("an address must be a URL such as http://127.0.0.1:8080/v1") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValueError("an address must be a URL such as http://127.0.0.1:8080/v1")
    if parts.username is not None or parts.password is not None:
        raise ValueError("an address must not hold a user or a key: name the variable that holds it in api_key_env")
    if parts.query or parts.fragment or any(character.isspace() for character in url):
        raise ValueError("an address must have no query, no fragment and no spaces")
    return url.rstrip("/")


def _from_environment(variable: str, option: str) -> SecretStr:
    value = os.environ.get(variable, "").strip()
    if not value:
        raise BackendLoadError(f"option {option!r}: the environment variable {variable!r} is not set")
    if not value.isascii() or not value.isprintable():
        raise BackendLoadError(f"option {option!r}: the environment variable {variable!r} must hold printable ASCII")
    return SecretStr(value)
