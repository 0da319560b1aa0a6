"""One request and what its answers must look like, as far as the request says."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import orjson

from specserve.spec.document import load
from specserve.spec.errors import UpstreamBreach
from specserve.spec.json_schema import to_json_schema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from specserve.backends.base import Call
    from specserve.backends.upstream.repairs import Notes

_REMEMBERED_IDS = 10_000


class RecentIds:
    """The ids that answers of one model had lately: an id names one answer and no other."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()

    def is_new(self, answer_id: str) -> bool:
        """Whether it was not seen before; it is now."""
        if answer_id in self._ids:
            return False
        self._ids[answer_id] = None
        if len(self._ids) > _REMEMBERED_IDS:
            self._ids.popitem(last=False)
        return True


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the reading of an answer needs to know.

    Attributes:
        call: The id and the time to use where the upstream gives none.
        model: The id that the client asked for; every answer has it.
        choices: How many choices the answer must have.
        include_usage: Whether the client asked for the usage of a stream.
        notes: Where repairs are told.
        ids: The ids of other answers.
        secrets: What must never reach a client, whatever the upstream says.
        sent_as: The parameters that were sent by another name: theirs -> the client's.
    """

    call: Call
    model: str
    choices: int
    include_usage: bool
    notes: Notes
    ids: RecentIds
    secrets: tuple[str, ...] = ()
    sent_as: Mapping[str, str] = field(default_factory=dict)

    def without_secrets(self, text: str) -> str:
        """An upstream's words, which may quote the key that it was given."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text

    def param(self, named: str | None) -> str | None:
        """The parameter that an upstream's error names, by the name that the client gave it."""
        name = re.match(r"\w*", named or "")
        if named is None or name is None or name[0] not in self.sent_as:
            return named
        return self.sent_as[name[0]]

    def answer_id(self, given: object) -> str:
        """The id of this answer: the upstream's if it is one."""
        if not isinstance(given, str) or not given:
            self.notes.add("id")
            return self.call.id
        if not self.ids.is_new(given):
            self.notes.add("id-repeated")
            return self.call.id
        return given

    def created(self, given: object) -> int:
        """When the answer was begun: the upstream's word for it if it is one."""
        if isinstance(given, int) and not isinstance(given, bool) and 0 < given < 100_000_000_000:
            return given
        self.notes.add("created")
        return self.call.created


@cache
def validator(component: str) -> jsonschema_rs.Draft202012Validator:
    """The compiled schema of one component of the contract."""
    return jsonschema_rs.Draft202012Validator(to_json_schema(load(), f"#/components/schemas/{component}"))


def check(component: str, value: object) -> None:
    """Hold what an upstream sent, mended, against the contract.

    Raises:
        UpstreamBreach: It still breaks it; the message says where.
    """
    compiled = validator(component)
    if not compiled.is_valid(value):
        first = next(compiled.iter_errors(value))
        where = "/".join(str(part) for part in first.instance_path) or "its root"
        raise UpstreamBreach(f"The server that runs this model sent what breaks the contract, at {where}.")


def parse(data: bytes) -> Any:
    """Read what an upstream sent.

    Raises:
        UpstreamBreach: It is not JSON.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        raise UpstreamBreach("The server that runs this model sent what is not JSON.") from None


def expected_choices(n: int | None, prompts: int = 1) -> int:
    """How many choices a request asks for: `n` for each prompt, where null is 1."""
    return (n or 1) * prompts


def inputs(value: Any) -> int:
    """How many prompts or texts a `prompt` or an `input` holds: a list of numbers is one."""
    return len(value) if isinstance(value, list) and value and not isinstance(value[0], int) else 1
