"""What an operator can set: one definition for the TOML file, the environment and the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from specserve.backends.base import LoadPolicy, ModelSettings, WorkerSettings
from specserve.config.model_table import ReadModel
from specserve.config.shorthand import default_models
from specserve.models.bounds import Bounds


def _read_key(value: object) -> object:
    if not isinstance(value, str):
        return value
    key = value.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("a key must be printable ASCII without spaces, and not empty")
    return SecretStr(key)


class Settings(BaseModel):
    """The settings of one server.

    Those marked as live take effect when the configuration is read again; the others wait for the next start.

    Made by hand, as in tests, they read nothing: `specserve.config.sources.load` does, from file, environment, flags.

    Each field says in `json_schema_extra` under which heading it is described (`group`), and whether SIGHUP gives a
    new value effect (`live`). What is live is part of `served_models` or `bounds`: a running server reads those again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address to listen on. `0.0.0.0` listens on every IPv4 interface.",
        json_schema_extra={"group": "Network"},
    )
    port: int = Field(
        default=8000,
        ge=0,
        le=65535,
        description="Port to listen on. `0` takes a free one.",
        json_schema_extra={"group": "Network"},
    )
    root_path: str = Field(
        default="",
        pattern=r"^(/[^/?#\s]+)*$",
        description="Path prefix under which a proxy serves this server, such as `/llm`. The proxy strips it.",
        json_schema_extra={"group": "Network"},
    )
    cors_origins: tuple[str, ...] = Field(
        default=(),
        description="Origin whose web pages may call the API from a browser; `*` for any.",
        json_schema_extra={"group": "Network"},
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description=(
            "Host name, beside `localhost` and loopback addresses, under which a server that needs no key may be asked "
            "for, as behind a proxy; `*` for any."
        ),
        json_schema_extra={"group": "Network"},
    )
    models: tuple[ReadModel, ...] = Field(
        default_factory=default_models,
        min_length=1,
        description=(
            "Model to serve, as `[ID=][BACKEND:]SOURCE`. With none, "
            "`smollm2-135m-instruct` and `all-minilm-l6-v2` are served."
        ),
        json_schema_extra={"group": "Models", "live": True},
    )
    chat_template: str = Field(
        default="",
        description=(
            "Chat template in place of the models' own: a file, or the name of one that comes with specserve, such as "
            "`chatml`. A `[[models]]` table may have its own `chat_template`."
        ),
        json_schema_extra={"group": "Models", "live": True},
    )
    load: LoadPolicy = Field(
        default="start",
        description=(
            "When models are loaded: at `start`, on the first `request`, or `manual`, by `specserve models load` "
            "alone. A `[[models]]` table may have its own `load`."
        ),
        json_schema_extra={"group": "Models", "live": True},
    )
    on_load_failure: Literal["exit", "continue"] = Field(
        default="exit",
        description=(
            "What becomes of the server when a model cannot be loaded at start. With `continue` it serves the others, "
            "and tries that one again when it is asked for."
        ),
        json_schema_extra={"group": "Models"},
    )
    unload_after_seconds: float = Field(
        default=0,
        ge=0,
        allow_inf_nan=False,
        description=(
            "Unload a model after this long without a request; `0` never. A `[[models]]` table may have its own."
        ),
        json_schema_extra={"group": "Models", "live": True},
    )
    max_loaded_models: int = Field(
        default=0,
        ge=0,
        description="Most models loaded at once: for one more, the least recently used is unloaded. `0` sets no limit.",
        json_schema_extra={"group": "Models", "live": True},
    )
    max_memory_mb: int = Field(
        default=0,
        ge=0,
        description=(
            "Most memory, in units of 1,000,000 bytes, for loaded models, beside that of the server itself. "
            "`0` sets no limit."
        ),
        json_schema_extra={"group": "Models", "live": True},
    )
    load_timeout_seconds: float = Field(
        default=3600,
        ge=0,
        allow_inf_nan=False,
        description="How long a model may take to load, its download included. `0` sets no limit.",
        json_schema_extra={"group": "Models", "live": True},
    )
    drain_seconds: float = Field(
        default=120,
        ge=0,
        allow_inf_nan=False,
        description="How long the requests of a model that is to be unloaded may go on; then they are ended with 503.",
        json_schema_extra={"group": "Models", "live": True},
    )
    engine_silence_seconds: float = Field(
        default=30,
        ge=0,
        allow_inf_nan=False,
        description=(
            "An engine's process that says nothing for so long, and does not compute either, is killed and started "
            "again. `0` never."
        ),
        json_schema_extra={"group": "Models", "live": True},
    )
    engine_environment: tuple[str, ...] = Field(
        default=(),
        description=(
            "Environment variable, or pattern such as `ACME_*`, that engines' processes get beside those that their "
            "libraries are known to read. Keys and tokens are withheld unless they are named here."
        ),
        json_schema_extra={"group": "Models", "live": True},
    )
    home: Path | None = Field(
        default=None,
        description="Directory that keeps downloaded weights. By default the user's cache directory.",
        json_schema_extra={"group": "Models"},
    )
    api_keys: tuple[Annotated[SecretStr, BeforeValidator(_read_key)], ...] = Field(
        default=(),
        repr=False,
        description=(
            "Key that clients must send. With none, a server on loopback is open, "
            "and on any other address a random key is made and printed at start."
        ),
        json_schema_extra={"group": "Access"},
    )
    admin_keys: tuple[Annotated[SecretStr, BeforeValidator(_read_key)], ...] = Field(
        default=(),
        repr=False,
        description=("Key that also loads and unloads models. With none, nobody can do that over HTTP."),
        json_schema_extra={"group": "Access"},
    )
    max_concurrent_requests: int = Field(
        default=64,
        ge=1,
        description="Requests that one model works on at the same time.",
        json_schema_extra={"group": "Limits", "live": True},
    )
    max_queued_requests: int = Field(
        default=256,
        ge=0,
        description="Requests that may wait for one model. Any more are answered 429 at once.",
        json_schema_extra={"group": "Limits", "live": True},
    )
    max_wait_seconds: float = Field(
        default=600,
        ge=0,
        allow_inf_nan=False,
        description=(
            "How long a request waits for its model to be loaded, and again for its turn; then it is answered 503 or "
            "429. `0` sets no limit."
        ),
        json_schema_extra={"group": "Limits", "live": True},
    )
    request_timeout_seconds: float = Field(
        default=3600,
        ge=0,
        allow_inf_nan=False,
        description=(
            "How long a request may take in all; then it is answered 504, or its stream ends with an error. `0` sets "
            "no limit."
        ),
        json_schema_extra={"group": "Limits"},
    )
    max_body_bytes: int = Field(
        default=16 * 1024 * 1024,
        ge=1,
        description=(
            "Largest request body; a larger one is answered 413. "
            "The default, 16 MiB, holds some million tokens of text or a few images."
        ),
        json_schema_extra={"group": "Limits"},
    )
    max_bodies_in_flight_bytes: int = Field(
        default=128 * 1024 * 1024,
        ge=1,
        description=(
            "Request bodies that are held at the same time, in bytes, from their first byte until the answer is out; "
            "any more are answered 429. Bodies of up to 64 KiB have as much again for themselves. At least twice "
            "`max_body_bytes` is taken."
        ),
        json_schema_extra={"group": "Limits"},
    )
    stream_keep_alive_seconds: float = Field(
        default=10,
        ge=0,
        allow_inf_nan=False,
        description=(
            "Seconds of silence after which a comment goes out in a stream, headers first if nothing has gone out yet, "
            "so that no proxy or client gives up while the model reads a long prompt. `0` sends none."
        ),
        json_schema_extra={"group": "Limits"},
    )
    max_head_bytes: int = Field(
        default=64 * 1024,
        ge=1024,
        le=1024 * 1024,
        description="Largest head of a request: its request line and headers; a larger one is answered 431.",
        json_schema_extra={"group": "Limits"},
    )
    max_request_line_bytes: int = Field(
        default=8 * 1024,
        ge=256,
        le=1024 * 1024,
        description="Longest request line; a longer one is answered 414.",
        json_schema_extra={"group": "Limits"},
    )
    max_headers: int = Field(
        default=100,
        ge=1,
        le=10_000,
        description="Most header lines of a request; with more it is answered 431.",
        json_schema_extra={"group": "Limits"},
    )
    max_connections: int = Field(
        default=0,
        ge=0,
        description=(
            "Most connections at once. For one more, the oldest that has no request running is closed. "
            "`0` takes what the process's limit of open files allows, at most 10,000."
        ),
        json_schema_extra={"group": "Limits"},
    )
    head_timeout_seconds: float = Field(
        default=20,
        gt=0,
        allow_inf_nan=False,
        description="How long the head of a request may take to come. Then it is answered 408.",
        json_schema_extra={"group": "Limits"},
    )
    body_timeout_seconds: float = Field(
        default=30,
        gt=0,
        allow_inf_nan=False,
        description=(
            "How long the body of a request may take to come, and a second more for each 16 KiB that came. "
            "Then it is answered 408."
        ),
        json_schema_extra={"group": "Limits"},
    )
    idle_timeout_seconds: float = Field(
        # Longer than clients keep idle connections (5 s in httpx): the one who may send next should be the one who
        # closes.
        default=75,
        gt=0,
        allow_inf_nan=False,
        description="How long a connection is kept open between two requests.",
        json_schema_extra={"group": "Limits"},
    )
    write_timeout_seconds: float = Field(
        default=30,
        gt=0,
        allow_inf_nan=False,
        description=(
            "How long a client may take to read what waits for it, and a second more for each 16 KiB that it reads. "
            "Then its request is ended and the connection closed."
        ),
        json_schema_extra={"group": "Limits"},
    )
    shutdown_grace_seconds: float = Field(
        default=30,
        ge=0,
        allow_inf_nan=False,
        description="How long running requests may go on after SIGTERM.",
        json_schema_extra={"group": "Limits"},
    )
    unknown_parameters: Literal["reject", "ignore"] = Field(
        default="reject",
        description=(
            "What becomes of request parameters that the API does not have: `reject` answers 400 as OpenAI does, "
            "`ignore` drops them and says so in a response header and the log. Unknown keys inside of messages are "
            "dropped either way."
        ),
        json_schema_extra={"group": "Contract"},
    )
    validate_responses: bool = Field(
        default=False,
        description="Check every response and streamed event against the spec. For tests: it costs time.",
        json_schema_extra={"group": "Contract"},
    )
    log_format: Literal["console", "json"] = Field(
        default="console",
        description="How log lines look: for people or for machines.",
        json_schema_extra={"group": "Logging"},
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="Least level that is logged. Each request is logged at `info`.",
        json_schema_extra={"group": "Logging"},
    )

    @property
    def served_models(self) -> tuple[ModelSettings, ...]:
        """The models, each with what the server's own settings say where its own do not."""
        return tuple(
            replace(
                model,
                chat_template=model.chat_template or self.chat_template,
                load=model.load or self.load,
                unload_after_seconds=(
                    self.unload_after_seconds if model.unload_after_seconds is None else model.unload_after_seconds
                ),
                workers=WorkerSettings(self.engine_silence_seconds, self.engine_environment),
            )
            for model in self.models
        )

    @property
    def bounds(self) -> Bounds:
        """What holds for all models together."""
        return Bounds(
            max_concurrent=self.max_concurrent_requests,
            max_queued=self.max_queued_requests,
            max_loaded=self.max_loaded_models,
            max_memory_mb=self.max_memory_mb,
            max_wait=self.max_wait_seconds,
            load_timeout=self.load_timeout_seconds,
            drain=self.drain_seconds,
        )

    @field_validator("models", mode="after")
    @classmethod
    def _ids_are_unique(cls, models: tuple[ModelSettings, ...]) -> tuple[ModelSettings, ...]:
        ids = [model.id for model in models]
        for place, model_id in enumerate(ids):
            if model_id in ids[:place]:
                why = PydanticCustomError("duplicate", f"two models have the id {model_id!r}")
                where = InitErrorDetails(type=why, loc=(place, "id"), input=model_id)
                raise ValidationError.from_exception_data("models", [where])
        return models
