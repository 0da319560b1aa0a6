"""The command ``specserve serve``; its options are made from `Settings`."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click

from specserve.backends.table import backend_factory
from specserve.config.settings import Settings
from specserve.config.sources import (
    CONFIG_VARIABLE,
    SettingsError,
    default_text,
    flag_name,
    group_of,
    is_list,
    load,
    located,
    variable_name,
)
from specserve.models.entries import ModelError
from specserve.models.reconfigure import Changes
from specserve.models.registry import Registry


class _ServeCommand(click.Command):
    """A command whose help shows the settings by group."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record:
                known = parameter.name in Settings.model_fields
                groups.setdefault(group_of(parameter.name or "") if known else "General", []).append(record)
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records)


def _option(name: str) -> click.Option:
    field = Settings.model_fields[name]
    flag = flag_name(name)
    text = (field.description or "").replace("`", "'")
    default = default_text(name)
    if default:
        text += f"  [default: {default}]"
    if field.annotation is bool:
        return click.Option([f"{flag}/--no-{flag[2:]}", name], default=None, help=text)
    if is_list(name):
        return click.Option(
            [flag, name], multiple=True, metavar=flag.rpartition("-")[2].upper(), help=f"{text}  [repeatable]"
        )
    if get_origin(field.annotation) is Literal:
        return click.Option([flag, name], type=click.Choice(get_args(field.annotation)), help=text)
    metavar = {"int": "INTEGER", "float": "SECONDS"}.get(getattr(field.annotation, "__name__", ""), "TEXT")
    return click.Option([flag, name], metavar=metavar, help=text)


def _serve(config: Path | None, **flags: Any) -> None:
    try:
        settings = load(flags, config=config)
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
    try:
        registry = Registry(settings.served_models, settings.bounds)
    except ModelError as error:
        raise click.UsageError(str(located(error, flags, config=config))) from None
    registry.prepare()
    from specserve.process.server import serve as run

    reload, locate = partial(_reload, registry, config, flags), partial(located, flags=flags, config=config)
    click.get_current_context().exit(run(settings, registry, reload=reload, locate=locate))


async def _reload(registry: Registry, config: Path | None, flags: dict[str, Any]) -> tuple[Settings, Changes]:
    """Read the settings again, and serve the models that they name now.

    Raises:
        SettingsError: They are wrong; nothing has changed then.
    """
    settings = await asyncio.to_thread(_read_again, config, flags)
    try:
        return settings, await registry.reconfigure(settings.served_models, settings.bounds)
    except ModelError as error:
        raise await asyncio.to_thread(located, error, flags, config=config) from None


def _read_again(config: Path | None, flags: dict[str, Any]) -> Settings:
    """Read the settings, and import what they name, which would hold up the event loop of a running server."""
    settings = load(flags, config=config, regular=True)
    for model in settings.served_models:
        with contextlib.suppress(Exception):  # it is found again, and told, when the model is made
            backend_factory(model.backend)
    return settings


serve = _ServeCommand(
    "serve",
    callback=_serve,
    help=(
        "Serve models with the OpenAI API.\n\n"
        "MODEL is '[ID=][BACKEND:]SOURCE', such as 'smollm2-135m-instruct', './model.gguf' or 'test=echo'."
    ),
    epilog=(
        f"Every setting is also a key of the TOML file and an environment variable: {flag_name('max_body_bytes')} is "
        f"max_body_bytes and {variable_name('max_body_bytes')}. Flags go before the environment, the environment "
        "before the file. Keys are better given in the environment: other users of this machine can see flags."
    ),
    params=[
        click.Option(
            ["--config"],
            type=click.Path(path_type=Path),
            metavar="FILE",
            help=f"TOML file with settings.  [env: {CONFIG_VARIABLE}]",
        ),
        *(_option(name) for name in Settings.model_fields),
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
