"""The command ``specserve``. Its subcommands are imported when they are used, so that the command line is quick."""

from __future__ import annotations

import importlib
import sys
from typing import Any, NamedTuple

import click

from specserve.config.extras import modules_of
from specserve.process import standard_streams


class _Row(NamedTuple):
    target: str
    extras: tuple[str, ...]
    help: str


# Command -> where it is, the extras that it needs beside that of a backend, what it does.
COMMANDS = {
    "serve": _Row("specserve.cli.serve:serve", ("server",), "Serve models."),
    "models": _Row("specserve.cli.models:models", (), "Show, fetch, load and unload models."),
    "conform": _Row(
        "specserve.conformance.cli:conform", ("conformance",), "Judge any server that speaks the OpenAI API."
    ),
    "load": _Row("specserve.loadtest.cli:load", ("loadtest",), "Put load on any server that speaks the OpenAI API."),
    "spec": _Row("specserve.spec.cli:spec", (), "Work on the contract: compare it with the published one."),
}


class LazyGroup(click.Group):
    """A group of the commands in `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].target.partition(":")
        try:
            command: click.Command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            raise _say_what_to_install(error, cmd_name) from error
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            raise _say_what_to_install(error, ctx.invoked_subcommand) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, row.help) for name, row in COMMANDS.items()])


def _say_what_to_install(error: ModuleNotFoundError, command: str | None) -> Exception:
    """What to raise for a module that is missing: one line if an extra brings it, else the error itself."""
    missing = (error.name or "").partition(".")[0]
    # Imported only now: it is slow.
    default_backend: str = importlib.import_module("specserve.backends.table").DEFAULT_BACKEND
    for extra in (*COMMANDS[command].extras, default_backend) if command in COMMANDS else ():
        if missing in modules_of(extra):
            return click.ClickException(f"specserve {command} needs: pip install 'specserve[{extra}]'")
    return error


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="specserve", prog_name="specserve", message="%(prog)s %(version)s")
def specserve() -> None:
    """Serve local models with the OpenAI API, exactly as its specification says."""


def main() -> None:
    """Run the command; every error of use is one line on standard error."""
    standard_streams.ensure()
    try:
        status = specserve.main(prog_name="specserve", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        status = error.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        message = error.format_message()
        path = context.command_path if context else "specserve"
        click.echo(message if message.startswith("specserve") else f"{path}: {message}", err=True)
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("specserve: interrupted", err=True)
        status = 130
    sys.exit(status)
