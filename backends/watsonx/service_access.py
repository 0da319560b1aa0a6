"""Where a model is and who pays for it: the options, and the environment where they say nothing."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import SecretStr

from specserve.spec.errors import BackendLoadError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from specserve.backends.watsonx.options import WatsonxOptions

REGIONS = ("us-south", "eu-gb", "jp-tok", "eu-de", "au-syd", "ca-tor")
"""Regions whose address follows from their name."""

_VERSION = "2025-02-06"
_IAM = "https://iam.cloud.ibm.com"
_TOKENS = "/identity/token"


@dataclass(frozen=True)
class ServiceAccess:
    """Where a model is and who pays for it.

    Attributes:
        url: Of the service, without a path.
        token_url: Where IAM gives tokens.
        api_key: For IAM.
        container: ``project_id`` or ``space_id`` and its value, as each request has it.
        version: Of the API, ``YYYY-MM-DD``.
    """

    url: str
    token_url: str
    api_key: SecretStr = field(repr=False)
    container: Mapping[str, str]
    version: str


def find_access(options: WatsonxOptions, environ: Mapping[str, str]) -> ServiceAccess:
    """Bring options and environment together. An option goes before its variable; an empty variable counts as absent.

    Raises:
        BackendLoadError: Something is missing or wrong; the message says what to set.
    """
    api_key = environ.get(options.api_key_env, "").strip()
    if not api_key:
        raise BackendLoadError(f"no IBM Cloud API key: set the environment variable {options.api_key_env}")
    token_url = _address(options.iam_url or environ.get("WATSONX_IAM_URL") or _IAM, "iam_url", but=_TOKENS) + _TOKENS
    version = options.version or environ.get("WATSONX_VERSION") or _VERSION
    try:
        dt.date.fromisoformat(version)
    except ValueError:
        raise BackendLoadError("option 'version', or WATSONX_VERSION, is a date: YYYY-MM-DD") from None
    return ServiceAccess(
        _service(options, environ), token_url, SecretStr(api_key), _container(options, environ), version
    )


def _service(options: WatsonxOptions, environ: Mapping[str, str]) -> str:
    if options.url and options.region:
        raise BackendLoadError("options 'url' and 'region' say the same: keep one")
    url = options.url or ("" if options.region else environ.get("WATSONX_URL", ""))
    if url:
        return _address(url, "url")
    region = options.region or environ.get("WATSONX_REGION", "")
    known = ", ".join(REGIONS)
    if not region:
        raise BackendLoadError(f"no region: set WATSONX_REGION, or the option 'region', to one of {known}; or a 'url'")
    if region not in REGIONS:
        raise BackendLoadError(f"region {region!r} is unknown; known are {known}. Give the 'url' of any other")
    return f"https://{region}.ml.cloud.ibm.com"


def _container(options: WatsonxOptions, environ: Mapping[str, str]) -> dict[str, str]:
    project, space = options.project_id, options.space_id
    if not project and not space:
        project, space = environ.get("WATSONX_PROJECT_ID", ""), environ.get("WATSONX_SPACE_ID", "")
    if project and space:
        raise BackendLoadError("requests are for a project or for a space: keep one of 'project_id' and 'space_id'")
    if project:
        return {"project_id": project}
    if space:
        return {"space_id": space}
    raise BackendLoadError(
        "neither project nor space: set WATSONX_PROJECT_ID or WATSONX_SPACE_ID, or an option 'project_id' or 'space_id'"
    )


def _address(text: str, name: str, *, but: str = "") -> str:
    """An address without a path. Tokens and keys travel to it, so it must be HTTPS, but on this machine."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise BackendLoadError(f"option {name!r} is no address") from None
    safe = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or ""))
    if not parts.hostname or not safe:
        raise BackendLoadError(f"option {name!r} must be an https:// address")
    if parts.path.rstrip("/") not in {"", but} or parts.query or parts.fragment or parts.username or parts.password:
        raise BackendLoadError(f"option {name!r} must be a host, such as https://us-south.ml.cloud.ibm.com")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
