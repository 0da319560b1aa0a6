"""What an operator can set: one definition for the TOML file, the environment and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)

from specserve.backends.base import ModelSettings
from specserve.catalogue import CATALOGUE, default_models, name_of, parse_model, parse_source


class _ModelTable(BaseModel):
    """One ``[[models]]`` table of the file; what is absent follows from `source`, as on the command line."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str = Field(default="", min_length=1)
    backend: str = Field(default="", min_length=1)
    source: str = ""
    owned_by: str = Field(default="", min_length=1)
    chat_template: str = Field(default="", min_length=1)
    options: dict[str, Any] = {}


def _read_model(value: object) -> object:
    if isinstance(value, str):
        return parse_model(value)
    if isinstance(value, Mapping):
        return _from_table(value)
    return value


def _from_table(value: Mapping[str, Any]) -> ModelSettings:
    try:
        table = _ModelTable.model_validate(value)
    except ValidationError as error:
        where, why = first_problem(error)
        raise ValueError(f"{where}: {why}") from None
    if table.backend:
        model = ModelSettings(id=name_of(table.source) or table.backend, backend=table.backend, source=table.source)
    else:
        model = parse_source(table.source or (table.id if table.id in CATALOGUE else ""))
    return replace(
        model,
        id=table.id or model.id,
        owned_by=table.owned_by or model.owned_by,
        chat_template=table.chat_template or model.chat_template,
        options={**model.options, **table.options},
    )


def _read_key(value: object) -> object:
    if not isinstance(value, str):
        return value
    key = value.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("a key must be printable ASCII without spaces, and not empty")
    return SecretStr(key)


def first_problem(error: ValidationError) -> tuple[str, str]:
    """Where the first problem is and what it is, without the value that was given."""
    problem = error.errors(include_url=False, include_input=False)[0]
    where = ""
    for part in problem["loc"]:
        where += f"[{part}]" if isinstance(part, int) else f".{part}"
    why = str(problem["ctx"]["error"]) if problem["type"] == "value_error" else problem["msg"]
    if problem["type"] == "extra_forbidden":
        why = "unknown setting"
    return where.removeprefix("."), why[:1].lower() + why[1:].replace("valid tuple", "list")


class Settings(BaseModel):
    """The settings of one server.

    Made by hand, as in tests, they read nothing: `specserve.settings_sources.load` does, from file, environment, flags.
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
    models: tuple[Annotated[ModelSettings, BeforeValidator(_read_model)], ...] = Field(
        default_factory=default_models,
        min_length=1,
        description=(
            "Model to serve, as `[ID=][BACKEND:]SOURCE`. With none, "
            "`smollm2-135m-instruct` and `all-minilm-l6-v2` are served."
        ),
        json_schema_extra={"group": "Models"},
    )
    chat_template: str = Field(
        default="",
        description=(
            "Chat template in place of the models' own: a file, or the name of one that comes with specserve, such as "
            "`chatml`. A `[[models]]` table may have its own `chat_template`."
        ),
        json_schema_extra={"group": "Models"},
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
    max_concurrent_requests: int = Field(
        default=64,
        ge=1,
        description="Requests that one model works on at the same time.",
        json_schema_extra={"group": "Limits"},
    )
    max_queued_requests: int = Field(
        default=256,
        ge=0,
        description="Requests that may wait for one model. Any more are answered 429 at once.",
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
            "`ignore` drops them and says so in a response header and the log."
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
        """The models, each with the chat template that is meant for it."""
        return tuple(replace(model, chat_template=model.chat_template or self.chat_template) for model in self.models)

    @field_validator("models", mode="after")
    @classmethod
    def _ids_are_unique(cls, models: tuple[ModelSettings, ...]) -> tuple[ModelSettings, ...]:
        seen: set[str] = set()
        for model in models:
            if model.id in seen:
                raise ValueError(f"two models have the id {model.id!r}")
            seen.add(model.id)
        return models
