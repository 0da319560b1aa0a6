"""What the server says to the person who starts it, on standard output. The log is for machines, this is not."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable

import click

from specserve import __version__
from specserve.backends.base import ModelSettings
from specserve.config.settings import Settings
from specserve.models.served_model import ServedModel


def loading(models: Iterable[ModelSettings]) -> None:
    """Say what is about to load: it can take minutes."""
    names = ", ".join(f"{model.id} ({model.backend})" for model in models if model.load in {None, "start"})
    _say(f"specserve {__version__} is {f'loading {names}' if names else 'starting'} ...")


def serving(settings: Settings, url: str, models: Iterable[ServedModel], made_key: str = "") -> None:
    """Say what is served, where, and to whom.

    Args:
        settings: The server's settings.
        url: Where it listens.
        models: What it serves.
        made_key: The key that was made because none was configured. Shown here and nowhere else.
    """
    rows = {model.id: _about(model) for model in models}
    width = max(map(len, rows), default=0)
    lines = [f"Serving at {url}/v1", ""]
    lines += [f"  {name:<{width}}  {about}" for name, about in rows.items()]
    lines += ["", f"Documentation: {url}/docs"]
    if settings.root_path:
        lines.append(f"Behind the proxy everything stands under {settings.root_path}/.")
    lines += [_access(settings, made_key), "Stop with Ctrl+C.", ""]
    _say("\n".join(lines))


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # a full disk, or nobody who reads: no reason not to serve
        click.echo(text)


def _about(model: ServedModel) -> str:
    if model.load_error is not None:
        return f"could not be loaded: {model.load_error}"
    if model.capabilities is None:
        return "is loaded by hand" if model.settings.load == "manual" else "is loaded on the first request"
    about = ", ".join(map(_in_words, sorted(model.capabilities.operations)))
    precision = model.capabilities.precision
    return about if precision is None else f"{about}; {precision}"


def _access(settings: Settings, made_key: str) -> str:
    if made_key:
        return f"API key, made for this run and shown only here: {made_key}"
    count = len(settings.api_keys)
    if count:
        return f"Access: with an API key ({count} {'is' if count == 1 else 'are'} set)."
    return "Access: open. No API key is set; the server listens on this machine only."


def _in_words(operation_id: str) -> str:
    """`createChatCompletion` -> `chat completion`."""
    return re.sub(r"(?<!^)([A-Z])", r" \1", operation_id.removeprefix("create")).lower()
