"""`specserve models`: the embedded default weights on this machine, and the models of a running server."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import click

from specserve.backends.table import COMMANDS, DEFAULT_BACKEND, missing_library
from specserve.backends.weights import cache as weights
from specserve.spec.errors import BackendLoadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MEGABYTE = 1_000_000
_SERVER = "http://127.0.0.1:8000"


class _Group(click.Group):
    """The commands of this file and those that backends bring; errors of all of them in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, sorted."""
        return sorted([*super().list_commands(ctx), *COMMANDS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command, imported only now if a backend brings it."""
        if cmd_name in COMMANDS:
            module, _, name = COMMANDS[cmd_name].partition(":")
            brought: click.Command = getattr(importlib.import_module(module), name)
            return brought
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except BackendLoadError as error:
            raise click.ClickException(str(error)) from error
        except ModuleNotFoundError as error:
            raise click.ClickException(str(missing_library(DEFAULT_BACKEND, error))) from error


def _name(text: str) -> str:
    """Take a model's id, as in requests, for the name of its weights."""
    from specserve.config.shorthand import CATALOGUE

    source = CATALOGUE[text].source if text in CATALOGUE else text
    return source.removeprefix(weights.SCHEME)


@click.group(cls=_Group)
def models() -> None:
    """Show and fetch the weights of the default models; load and unload the models of a running server."""


@models.command("list")
@click.option("--server", metavar="URL", help="List the models of this running server, and their states, instead.")
def list_models(server: str | None) -> None:
    """List the weights that can be fetched, and where those that were lie."""
    if server is not None:
        from specserve.cli import models_client

        _print_columns((model["id"], _state(model)) for model in models_client.list_models(server))
        return
    _print_columns(
        (
            status.weights.name,
            status.weights.description,
            f"{status.weights.size / _MEGABYTE:.0f} MB",
            status.weights.licence,
            str(status.path) if status.pulled else "not pulled",
        )
        for status in weights.list_weights()
    )


@models.command()
@click.argument("name")
@click.option("--server", metavar="URL", default=_SERVER, show_default=True, help="The running server.")
def load(name: str, server: str) -> None:
    """Have a running server load a model, and wait until it has.

    The admin key is read from SPECSERVE_ADMIN_KEY.
    """
    _change(server, name, "load")


@models.command()
@click.argument("name")
@click.option("--server", metavar="URL", default=_SERVER, show_default=True, help="The running server.")
def unload(name: str, server: str) -> None:
    """Have a running server unload a model when its requests have finished, and wait until it has.

    The admin key is read from SPECSERVE_ADMIN_KEY.
    """
    _change(server, name, "unload")


def _change(server: str, name: str, verb: str) -> None:
    from specserve.cli.models_client import change_model

    model = change_model(server, name, verb)
    _print_columns([(model["id"], _state(model))])


def _state(model: dict[str, Any]) -> str:
    state = str(model.get("state", "served"))
    if "load_error" in model:
        state += f": {model['load_error']}"
    return f"{state} (alias of {model['alias_of']})" if "alias_of" in model else state


def _print_columns(rows: Iterable[Sequence[str]]) -> None:
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@models.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--verify", is_flag=True, help="Hash files that are already there, and fetch again what is damaged.")
def pull(names: tuple[str, ...], *, verify: bool) -> None:
    """Fetch weights by name, or all; those that are there are not fetched again."""
    for name in names or [status.weights.name for status in weights.list_weights()]:
        click.echo(weights.pull(_name(name), verify=verify))


@models.command()
@click.argument("name")
def path(name: str) -> None:
    """Print the path of weights that were fetched."""
    wanted = _name(name)
    rows = {status.weights.name: status for status in weights.list_weights()}
    if wanted not in rows:
        raise BackendLoadError(f"No embedded weights are named {name!r}; there are: {', '.join(rows)}")
    if not rows[wanted].pulled:
        raise BackendLoadError(f"{name} is not here yet: specserve models pull {name}")
    click.echo(rows[wanted].path)
