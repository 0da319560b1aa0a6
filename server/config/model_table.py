"""One ``[[models]]`` table of the configuration file, or what stands for it on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from specserve.backends.base import Limits, LoadPolicy, ModelSettings
from specserve.backends.table import check_scheme
from specserve.config.shorthand import CATALOGUE, name_of, parse_model, parse_source

# `POST /v1/models/{model}/load` would be taken for the model of that name.
_ENDINGS = ("/load", "/unload")


def _check_name(name: str) -> str:
    if name.endswith(_ENDINGS):
        raise ValueError(f"a name must not end with {' or '.join(_ENDINGS)}, which are operations on a model")
    return name


Name = Annotated[str, Field(min_length=1), AfterValidator(_check_name)]


class LimitsTable(BaseModel):
    """What the model gives at most."""

    model_config = ConfigDict(extra="forbid", strict=True)

    max_concurrent_requests: int | None = Field(
        default=None, ge=1, description="Requests in work at once, instead of the server's `max_concurrent_requests`."
    )
    max_queued_requests: int | None = Field(
        default=None, ge=0, description="Requests that may wait, instead of the server's `max_queued_requests`."
    )
    max_output_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Tokens of one answer. A request for more is refused; one that does not say is given this limit.",
    )
    context_length: int | None = Field(
        default=None, ge=2, description="Tokens of prompt and answer together. A longer prompt is refused."
    )


class ModelTable(BaseModel):
    """One model. What is absent follows from `source`, as on the command line."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: Name = Field(
        default="",
        description="The name clients use. By default it follows from the source. With a `*` the table stands for many "
        "models; see below.",
    )
    aliases: list[Name] = Field(default=[], description="Other names that clients may use. Each is listed as a model.")
    backend: str = Field(
        default="", min_length=1, description="A backend of specserve, or `package.module:callable` of your own."
    )
    source: str = Field(default="", description="What the backend loads: see [the backends](backends.md).")
    owned_by: str = Field(default="", min_length=1, description="Shown in the list of models.")
    chat_template: str = Field(
        default="", min_length=1, description="A file, or a name, in place of the model's own chat template."
    )
    load: LoadPolicy | None = Field(
        default=None, description="`start`, `request` or `manual`, instead of the server's `load`."
    )
    unload_after_seconds: Annotated[float, Field(strict=False)] | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="Unload it after this long without a request, instead of the server's `unload_after_seconds`.",
    )
    memory_mb: int | None = Field(
        default=None, ge=0, description="What counts against `max_memory_mb`, instead of what is measured."
    )
    defaults: dict[str, Any] = Field(
        default={}, description="Parameters for requests that do not have them, such as `temperature`."
    )
    limits: LimitsTable = Field(default=LimitsTable(), description="What it gives at most; see below.")
    options: dict[str, Any] = Field(default={}, description="The backend's own settings.")


def _read(value: object) -> object:
    if isinstance(value, str):
        model = parse_model(value)
        _check_name(model.id)
        return model
    return _from_table(ModelTable.model_validate(value)) if isinstance(value, Mapping) else value


ReadModel = Annotated[ModelSettings, BeforeValidator(_read)]
"""A model's settings, read from a table or from ``[ID=][BACKEND:]SOURCE``."""


def _from_table(table: ModelTable) -> ModelSettings:
    if table.backend:
        check_scheme(table.backend, table.source)
        name = name_of(table.source, table.backend) or table.backend
        model = ModelSettings(id=name, backend=table.backend, source=table.source)
    else:
        model = parse_source(table.source or (table.id if table.id in CATALOGUE else ""))
    return replace(
        model,
        id=table.id or _check_name(model.id),
        owned_by=table.owned_by or model.owned_by,
        chat_template=table.chat_template or model.chat_template,
        options={**model.options, **table.options},
        aliases=tuple(table.aliases),
        defaults=table.defaults,
        limits=Limits(**table.limits.model_dump()),
        load=table.load,
        unload_after_seconds=table.unload_after_seconds,
        memory_mb=table.memory_mb,
    )
