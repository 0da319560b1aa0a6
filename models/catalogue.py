"""Which models are served: by id, and by every name that a request may use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specserve.backends.patterns import check_names, with_free_names
from specserve.backends.table import backend_factory
from specserve.models.entries import ModelError, attributing_errors_to
from specserve.models.served_model import ServedModel
from specserve.spec.errors import BackendLoadError, ModelNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from specserve.backends.base import ModelSettings
    from specserve.models.bounds import Bounds
    from specserve.models.host import LifecycleHost


class Catalogue:
    """A table of models. Never changes: another configuration has another one."""

    def __init__(self, models: Iterable[ServedModel] = ()) -> None:
        """Make the table of names.

        Args:
            models: The models, with different ids.

        Raises:
            ModelError: An alias is the name of another model.
        """
        self.models: Mapping[str, ServedModel] = {model.id: model for model in models}
        self.names: Mapping[str, ServedModel] = _by_name(self.models)

    @classmethod
    def build(cls, settings: Sequence[ModelSettings], bounds: Bounds, host: LifecycleHost) -> Catalogue:
        """Make every model's backend, which validates its settings; loads nothing.

        Raises:
            ModelError: A backend is unknown, a model's settings are wrong, or two models have one name.
        """
        ids: set[str] = set()
        models = []
        for each in settings:
            if each.id in ids:
                raise ModelError(each, BackendLoadError("two models have this id", key=("id",)))
            ids.add(each.id)
            with attributing_errors_to(each):
                check_names(each)
                models.append(ServedModel(each, backend_factory(each.backend), host, bounds))
        return cls(models)

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self.models.values())

    def get(self, name: str) -> ServedModel:
        """The model a request names, by id or alias.

        Raises:
            ModelNotFound: It is not served here.
        """
        try:
            return self.names[name]
        except KeyError:
            raise ModelNotFound("The requested model does not exist.", param="model") from None

    def with_found(self, found: Sequence[ModelSettings], bounds: Bounds, host: LifecycleHost) -> Catalogue:
        """These models and more, as far as their names are free.

        Raises:
            ModelError: The settings of one are wrong.
        """
        free = with_free_names(found, [model.settings for model in self])
        return Catalogue([*self, *Catalogue.build(free, bounds, host)])


def _by_name(models: Mapping[str, ServedModel]) -> dict[str, ServedModel]:
    names = dict(models)
    for model in models.values():
        for alias in model.settings.aliases:
            if alias in names:
                message = f"the alias {alias!r} is the name of another model"
                raise ModelError(model.settings, BackendLoadError(message, key=("aliases",)))
            names[alias] = model
    return names
