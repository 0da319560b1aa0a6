"""The command that writes documentation which is made of what the contract and the code say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click


def command(make: Callable[[str], str], where: str, *, says: str) -> click.Command:
    """A command ``[--check] [FILE...]``.

    Args:
        make: What a file should be, made of what it is; of nothing if there is none.
        where: The files if none are named, as a pattern below the working directory.
        says: Its help.
    """

    @click.command(help=says)
    @click.option("--check", is_flag=True, help="Change nothing; exit 1 if a file is stale.")
    @click.argument("files", type=click.Path(path_type=Path, dir_okay=False), nargs=-1)
    def write(*, check: bool, files: tuple[Path, ...]) -> None:
        for file in files or (sorted(Path().glob(where)) if "*" in where else [Path(where)]):
            before = file.read_text(encoding="utf-8") if file.exists() else ""
            now = make(before)
            if now == before:
                continue
            if check:
                raise click.ClickException(f"{file} is stale: run `tox run -e generate`")
            file.write_text(now, encoding="utf-8")

    return write
