"""`specserve models convert`, which this backend brings; see `COMMANDS` in `backends/table.py`."""

from __future__ import annotations

from pathlib import Path

import click

from specserve.backends.openvino.conversion import (
    DEFAULT_WEIGHT_FORMAT,
    WEIGHT_FORMATS,
    WeightFormat,
    converted,
    is_convertible,
)
from specserve.spec.errors import BackendLoadError


@click.command()
@click.argument("source", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--weight-format",
    type=click.Choice(WEIGHT_FORMATS),
    default=DEFAULT_WEIGHT_FORMAT,
    show_default=True,
    help="Number format of the weights.",
)
@click.option(
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where to put it, instead of the cache, where `serve` finds it.",
)
def convert(source: Path, weight_format: WeightFormat, output: Path | None) -> None:
    """Convert a Hugging Face model, a directory with safetensors, to OpenVINO, and print where it is.

    The first time, the converter is installed through pip into an environment of its own; its torch takes gigabytes.
    """
    from specserve.backends.openvino.converter import install_converter

    if not is_convertible(source):
        raise BackendLoadError(f"{source} is not a Hugging Face model (config.json and *.safetensors are required)")
    install_converter()
    click.echo(converted(source, weight_format, output=output))
