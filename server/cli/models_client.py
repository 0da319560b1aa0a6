"""Asks a running server about its models, and has it load and unload them."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import click

DEFAULT_SERVER = "http://127.0.0.1:8000"

# The variables in which the server itself takes one key; see `settings_sources.py`.
ADMIN_KEY_VARIABLE = "SPECSERVE_ADMIN_KEY"
API_KEY_VARIABLE = "SPECSERVE_API_KEY"


class ServerRefused(click.ClickException):
    """The server did not do what it was asked to, or cannot be reached; the message is one line."""


def list_models(server: str) -> list[dict[str, Any]]:
    """What the server serves, as its `Model` objects.

    Raises:
        ServerRefused: It does not tell.
    """
    models: list[dict[str, Any]] = _ask(server, "GET", "/models")["data"]
    return models


def change_model(server: str, model: str, verb: str) -> dict[str, Any]:
    """Have a model loaded or unloaded, and wait until that is done; returns it as it is then.

    Raises:
        ServerRefused: It could not be done; the message says why.
    """
    return _ask(server, "POST", f"/models/{urllib.parse.quote(model)}/{verb}")


def _ask(server: str, method: str, path: str) -> dict[str, Any]:
    base = server.rstrip("/").removesuffix("/v1")
    if not base.startswith(("http://", "https://")):
        raise ServerRefused(f"{server} is no URL of a server, such as {DEFAULT_SERVER}")
    request = urllib.request.Request(f"{base}/v1{path}", method=method)  # noqa: S310  the scheme was looked at
    key = os.environ.get(ADMIN_KEY_VARIABLE) or os.environ.get(API_KEY_VARIABLE)
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    try:
        # Loading takes as long as it takes: no limit of time.
        with urllib.request.urlopen(request) as response:  # noqa: S310
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        raise ServerRefused(_message(error)) from None
    except (OSError, ValueError) as error:
        raise ServerRefused(f"{base} cannot be asked: {getattr(error, 'reason', error)}") from None
    if not isinstance(answer, dict):
        raise ServerRefused(f"{base} does not answer as this API does")
    return answer


def _message(error: urllib.error.HTTPError) -> str:
    with error:
        try:
            message = json.load(error)["error"]["message"]
        except (ValueError, KeyError, TypeError):
            message = error.reason
    hint = f" Give one in {ADMIN_KEY_VARIABLE}." if error.code in {401, 403} else ""
    return f"the server answered {error.code}: {message}{hint}"
