"""Entries of the configuration that stand for many models: a `*` in the id, and a backend that lists what it has.

The `*` of the id takes what the `*` of the backend's own pattern stands for: with the id ``x/*``, the pattern
``ibm/*`` brings ``ibm/one`` in as ``x/one``, and the pattern ``*`` brings it in as ``x/ibm/one``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from specserve.spec.errors import BackendLoadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from specserve.backends.base import ModelSettings

STAR = "*"


def is_pattern(settings: ModelSettings) -> bool:
    """Whether an entry stands for many models."""
    return STAR in settings.id


def check_names(settings: ModelSettings) -> None:
    """Check that an entry of many models names all of them differently, and that no other has a `*`.

    Raises:
        BackendLoadError: It does not.
    """
    if settings.id.count(STAR) > 1:
        raise BackendLoadError("an id has one '*' at most", key=("id",))
    for place, alias in enumerate(settings.aliases):
        if alias.count(STAR) != settings.id.count(STAR):
            must = "needs one '*', as the id has one" if is_pattern(settings) else "has a '*' only if the id has one"
            raise BackendLoadError(f"the alias {alias!r} {must}", key=("aliases", place))


def check_pattern(settings: ModelSettings, pattern: str, key: tuple[str, ...]) -> None:
    """Check for a backend that what names models to it stands for many if the id does.

    Raises:
        BackendLoadError: One of them has a `*` and the other has none, or it has more than one; its key is `key`.
    """
    if pattern.count(STAR) == settings.id.count(STAR):
        return
    name = ".".join(key)
    if STAR not in pattern:
        raise BackendLoadError(f"an id with '*' needs {name!r} to have one", key=key)
    if is_pattern(settings):
        raise BackendLoadError(f"{name!r} has one '*' at most", key=key)
    raise BackendLoadError(f"{name!r} with '*' stands for many models: the id needs one too", key=key)


def matched(pattern: str, name: str) -> str | None:
    """What the `*` stands for in a name, which is not nothing; None if the name is not of this pattern."""
    before, _, after = pattern.partition(STAR)
    fits = name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after)
    return name[len(before) : len(name) - len(after)] if fits else None


def one_of(settings: ModelSettings, star: str, **own: Any) -> ModelSettings:
    """The settings of one of the models that an entry stands for.

    Args:
        settings: The entry.
        star: What its `*` stands for.
        own: What else is the model's own, such as ``source``.
    """
    names = tuple(alias.replace(STAR, star) for alias in settings.aliases)
    return replace(settings, id=settings.id.replace(STAR, star), aliases=names, entry=settings.id, **own)


def with_free_names(found: Iterable[ModelSettings], taken: Iterable[ModelSettings]) -> Sequence[ModelSettings]:
    """Those of the found whose ids nobody has yet, the first of several with one id, without aliases that somebody has.

    Args:
        found: Models that entries stand for, in the order of these.
        taken: Models that are named, or were found before.
    """
    names = {name for model in taken for name in (model.id, *model.aliases)}
    chosen = []
    for model in found:
        if model.id not in names:
            names.add(model.id)
            chosen.append(model)
    # Aliases last: an id goes before an alias, whichever of them comes first.
    for place, model in enumerate(chosen):
        free = tuple(alias for alias in dict.fromkeys(model.aliases) if alias not in names)
        names.update(free)
        chosen[place] = replace(model, aliases=free)
    return chosen
