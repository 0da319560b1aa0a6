"""The chat templates that come with specserve: well-known formats, for models that bring no template."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from specserve.spec.errors import BackendLoadError

_FOLDER = resources.files("specserve.backends.local.prompts") / "templates"
_ENDING = ".jinja"


def names() -> list[str]:
    """The templates that can be named."""
    return sorted(file.name.removesuffix(_ENDING) for file in _FOLDER.iterdir() if file.name.endswith(_ENDING))


def read_template(given: str) -> str:
    """The Jinja source of a template.

    Args:
        given: One of `names`, or a file; a name goes before a file of that name.

    Raises:
        BackendLoadError: It is neither.
    """
    if given in names():
        return (_FOLDER / f"{given}{_ENDING}").read_text("utf-8")
    path = Path(given).expanduser()
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        raise BackendLoadError(f"chat template {given!r} is neither a file nor one of {', '.join(names())}") from None
    except (OSError, ValueError) as error:
        raise BackendLoadError(f"cannot read the chat template {given!r}: {error}") from None
