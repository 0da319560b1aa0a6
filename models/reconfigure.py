"""From one catalogue to another: which models go on as they are, which come, which go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from specserve.models.catalogue import Catalogue
from specserve.models.entries import attributing_errors_to

if TYPE_CHECKING:
    from specserve.models.served_model import ServedModel


@dataclass(frozen=True)
class Changes:
    """What another configuration changed, as ids of models.

    Attributes:
        added: Served from now on.
        removed: Served no more.
        replaced: Served from now on with another engine.
    """

    added: Sequence[str]
    removed: Sequence[str]
    replaced: Sequence[str]


@dataclass(frozen=True)
class Swap:
    """The step from one catalogue to another.

    Attributes:
        after: The new catalogue: models that are served already stand in it themselves.
        begun: Models that are new in it.
        ended: Models that are served no more.
        changes: The same, for people.
    """

    after: Catalogue
    begun: Sequence[ServedModel]
    ended: Sequence[ServedModel]
    changes: Changes


def swap(before: Catalogue, wanted: Catalogue) -> Swap:
    """Have the models that can do so take over their new settings. All is checked before anything changes.

    Args:
        before: What is served.
        wanted: What shall be served, made by `Catalogue.build`.

    Raises:
        ModelError: A loaded model cannot keep its new settings, such as a default that has no effect on it.
    """
    adopting: dict[str, tuple[ServedModel, ServedModel]] = {}
    for new in wanted:
        old = before.models.get(new.id)
        if old is not None and old.takes(new.settings):
            with attributing_errors_to(new.settings):
                old.check_adoption(new)
            adopting[new.id] = old, new
    for old, new in adopting.values():
        old.adopt(new)
    after = Catalogue(adopting[new.id][0] if new.id in adopting else new for new in wanted)
    return Swap(
        after,
        begun=[model for model in after if model.id not in adopting],
        ended=[model for model in before if model.id not in adopting],
        changes=Changes(
            added=sorted(after.models.keys() - before.models.keys()),
            removed=sorted(before.models.keys() - after.models.keys()),
            replaced=sorted((after.models.keys() & before.models.keys()) - adopting.keys()),
        ),
    )
