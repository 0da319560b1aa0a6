"""Where settings come from: the TOML file, the environment, the flags."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_origin

from pydantic import ValidationError

from specserve.config.problems import first_problem
from specserve.config.replaced_servers import replaced_settings
from specserve.config.settings import Settings
from specserve.config.settings_file import read_file
from specserve.config.toml_lines import line_of
from specserve.models.entries import ModelError

ENVIRONMENT_PREFIX = "SPECSERVE_"
CONFIG_VARIABLE = "SPECSERVE_CONFIG"

# Kubernetes puts variables like SPECSERVE_PORT=tcp://10.0.0.7:8000 and SPECSERVE_PORT_8000_TCP_ADDR into every
# container when a Service is named specserve. They are not settings.
_SERVICE_LINK = re.compile(r"SPECSERVE_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")

# Where a value came from, in the words of an error message, and the value.
_Given = dict[str, tuple[str, Any]]


class SettingsError(Exception):
    """A setting is unknown or wrong; the message is one line that names it and where it came from."""


def load(
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    config: Path | None = None,
    *,
    regular: bool = False,
) -> Settings:
    """Read the settings: flags go before the environment, the environment before the file.

    Args:
        flags: Field name -> value; None and empty tuples are flags that were not given.
        environ: The environment, by default that of this process.
        config: The TOML file, by default the one that ``SPECSERVE_CONFIG`` names, if any.
        regular: Whether it must be a regular file; see `read_file`.

    Raises:
        SettingsError: A setting is unknown, or its value is wrong. Values are never repeated: they may be secret.
    """
    environ = os.environ if environ is None else environ
    config = _config_file(environ, config)
    given = _given(flags or {}, environ, _from_file(config, regular=regular))
    try:
        _refuse_empty_keys(given)
        return Settings.model_validate({name: value for name, (_, value) in given.items()})
    except ValidationError as error:
        where, why = first_problem(error)
        raise SettingsError(_located(where, why, given, config)) from None


def located(
    error: ModelError,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    config: Path | None = None,
) -> SettingsError:
    """Say where the settings stand that a model or its backend refuses. The other arguments are those of `load`."""
    environ = os.environ if environ is None else environ
    config = _config_file(environ, config)
    given = _given(flags or {}, environ, _from_file(config))
    models = load(flags, environ, config).models
    places = [place for place, model in enumerate(models) if model.id == error.entry]
    if "models" not in given or not places:
        return SettingsError(str(error))
    return SettingsError(_located(("models", places[-1], *error.key), str(error), given, config))


def _refuse_empty_keys(given: _Given) -> None:
    """Who sets keys wants a server that needs one: a list of none must not open it.

    Raises:
        SettingsError: A list of keys was given, and holds none.
    """
    for name in ("api_keys", "admin_keys"):
        origin, keys = given.get(name, ("", None))
        if isinstance(keys, list) and not keys:
            raise SettingsError(f"{origin}: {name} holds no key; remove it for a server without keys")


def _located(where: Sequence[str | int], why: str, given: _Given, config: Path | None) -> str:
    origin = given[str(where[0])][0] if where else str(config)
    if origin != str(config) or config is None:
        return f"{origin}: {why}"
    line = line_of(read_file(config), where)
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).removeprefix(".")
    return f"{config}, line {line}: {name}: {why}"


def _config_file(environ: Mapping[str, str], config: Path | None) -> Path | None:
    return config or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)


def _given(flags: Mapping[str, Any], environ: Mapping[str, str], file: _Given) -> _Given:
    given = {**file, **_from_environment(environ), **_from_flags(flags)}
    if "models" not in given:
        try:
            given = {**replaced_settings(environ), **given}
        except ValueError as error:
            raise SettingsError(str(error)) from None
    return given


def is_list(name: str) -> bool:
    """Whether a setting holds several values: its flag is repeatable, its variable separated by commas."""
    return get_origin(Settings.model_fields[name].annotation) is tuple


def flag_name(name: str) -> str:
    """The flag of a setting; one that takes several values is named in the singular, as it is repeated."""
    return "--" + (name.removesuffix("s") if is_list(name) else name).replace("_", "-")


def variable_name(name: str) -> str:
    """The environment variable of a setting."""
    return ENVIRONMENT_PREFIX + name.upper()


def default_text(name: str) -> str:
    """The default of a setting, for people; empty if there is none to show."""
    default = Settings.model_fields[name].get_default()
    if default is None or default == "" or is_list(name):
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default)


def group_of(name: str) -> str:
    """The heading under which a setting stands in help and documentation."""
    return str(_extra(name).get("group", ""))


def is_live(name: str) -> bool:
    """Whether SIGHUP gives a new value of a setting effect."""
    return bool(_extra(name).get("live", False))


def _extra(name: str) -> Mapping[str, object]:
    extra = Settings.model_fields[name].json_schema_extra
    return extra if isinstance(extra, dict) else {}


def _from_flags(flags: Mapping[str, Any]) -> _Given:
    return {name: (flag_name(name), value) for name, value in flags.items() if value is not None and value != ()}


def _from_environment(environ: Mapping[str, str]) -> _Given:
    fields = {variable_name(name): name for name in Settings.model_fields}
    singular = {variable_name(name).removesuffix("S"): name for name in Settings.model_fields if is_list(name)}
    given: _Given = {}
    for variable, text in sorted(environ.items()):
        # An empty variable counts as absent: `VARIABLE=${UNSET:-}` in a compose file should not change anything.
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable == CONFIG_VARIABLE or not text:
            continue
        name = fields.get(variable) or singular.get(variable)
        if _SERVICE_LINK.fullmatch(variable) or (name == "port" and text.startswith("tcp://")):
            continue
        if name is None:
            raise SettingsError(f"unknown setting {variable}{_nearest(variable, [*fields, *singular])}")
        if name in given:
            raise SettingsError(f"{given[name][0]} and {variable} are both set; keep one")
        value: Any = text
        if is_list(name):
            value = [text] if variable in singular else [part.strip() for part in text.split(",") if part.strip()]
        given[name] = variable, value
    return given


def _from_file(path: Path | None, *, regular: bool = False) -> _Given:
    if path is None:
        return {}
    try:
        text = read_file(path, regular=regular)
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from None
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {path}: {error.strerror}") from None
    for key in data:
        if key not in Settings.model_fields:
            line = line_of(text, (key,))
            raise SettingsError(f"{path}, line {line}: unknown setting {key!r}{_nearest(key, Settings.model_fields)}")
    return {name: (str(path), value) for name, value in data.items()}


def _nearest(name: str, known: Iterable[str]) -> str:
    # Without the prefix, which would make every variable look like every other.
    candidates = {candidate.removeprefix(ENVIRONMENT_PREFIX): candidate for candidate in known}
    found = difflib.get_close_matches(name.removeprefix(ENVIRONMENT_PREFIX), candidates, n=1)
    return f"; did you mean {candidates[found[0]]}?" if found else ""
