"""One request and what its answers must look like, as far as the request says."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import orjson

from specserve.backends.http.redaction import Redactor
from specserve.spec.document import load
from specserve.spec.errors import UpstreamBreach
from specserve.spec.json_schema import to_json_schema

if TYPE_CHECKING:
    from specserve.backends.base import Call
    from specserve.backends.upstream.repairs import RepairLog

_REMEMBERED_IDS = 10_000
_LATEST = 100_000_000_000  # seconds; above are milliseconds
_MOST_TOKENS = 2**53
_MOST_PARTS = 250_000  # lists and objects in one answer or event: a quarter of a second of work
_WIDEST_FAULT, _DEEPEST_FAULT = 16, 12


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
        repairs: Logs what is repaired.
        ids: The ids of other answers.
        redactor: Keeps our keys from clients, whatever the upstream says.
        sent_as: The parameters that were sent by another name: theirs -> the client's.
        continuous_usage: Whether the client asked for the usage so far in each chunk of a stream.
        named_tool: Whether the client named the tool to call; such an answer ends with ``stop``.
    """

    call: Call
    model: str
    choices: int
    include_usage: bool
    repairs: RepairLog
    ids: RecentIds
    redactor: Redactor = field(default_factory=lambda: Redactor(()))
    sent_as: Mapping[str, str] = field(default_factory=dict)
    continuous_usage: bool = False
    named_tool: bool = False

    def without_secrets(self, text: str) -> str:
        """An upstream's words, which may quote the key that it was given."""
        return self.redactor.text(text)

    def param(self, named: str | None) -> str | None:
        """The parameter that an upstream's error names, by the name that the client gave it."""
        name = re.match(r"\w*", named or "")
        if named is None or name is None or name[0] not in self.sent_as:
            return named
        return self.sent_as[name[0]]

    def answer_id(self, given: object) -> str:
        """The id of this answer: the upstream's if it is one."""
        if not isinstance(given, str) or not given:
            self.repairs.add("id")
            return self.call.id
        if not self.ids.is_new(given):
            self.repairs.add("id-repeated")
            return self.call.id
        return given

    def created(self, given: object) -> int:
        """When the answer was begun: the upstream's word for it, if it is a time in seconds."""
        if isinstance(given, int) and not isinstance(given, bool) and 0 < given < _LATEST:
            return given
        self.repairs.add("created")
        seconds = given if isinstance(given, float) else _digits(given)
        return int(seconds) if seconds is not None and 0 < seconds < _LATEST else self.call.created


def count(value: object) -> int | None:
    """A count of tokens: a number that is whole and not negative, or its digits; else None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        value = int(value) if value.is_integer() else None
    number = value if isinstance(value, int) else _digits(value)
    return number if number is not None and 0 <= number < _MOST_TOKENS else None


def _digits(value: object) -> int | None:
    if not isinstance(value, str) or len(value) > 15:
        return None
    return int(value) if value.isascii() and value.isdigit() else None


@cache
def validator(component: str) -> jsonschema_rs.Draft202012Validator:
    """The compiled schema of one component of the contract."""
    return jsonschema_rs.Draft202012Validator(to_json_schema(load(), f"#/components/schemas/{component}"))


def check(component: str, value: object) -> None:
    """Hold what an upstream sent, mended, against the contract.

    Raises:
        UpstreamBreach: It still breaks it; the message says where, if that is among the first of its parts.
    """
    path = first_fault(component, value)
    if path is None:
        return
    where = "/".join(str(part)[:50] for part in path)[:200]
    place = f", at {where}" if where else ""
    raise UpstreamBreach(f"The server that runs this model sent what breaks the contract{place}.")


def first_fault(component: str, value: object) -> Sequence[str | int] | None:
    """Where a value breaks the contract; None if it does not, and nothing if that cannot be found cheaply.

    An answer can be millions of parts, each with a fault that takes a kilobyte to describe, so only the first parts of
    everything are looked at for where the fault is.
    """
    compiled = validator(component)
    try:
        if compiled.is_valid(value):
            return None
        return compiled.iter_errors(_beginning(value, 0)).__next__().instance_path
    except StopIteration:
        return ()
    except ValueError:  # it is nested deeper than the validator goes
        raise UpstreamBreach("The server that runs this model sent an answer that is nested too deep.") from None


def _beginning(value: object, depth: int) -> object:
    """The value, with lists and objects cut."""
    if depth > _DEEPEST_FAULT:
        return value if not isinstance(value, dict | list) else None
    if isinstance(value, list):
        return [_beginning(one, depth + 1) for one in value[:_WIDEST_FAULT]]
    if isinstance(value, dict):
        return {name: _beginning(one, depth + 1) for name, one in islice(value.items(), 4 * _WIDEST_FAULT)}
    return value


def parse(data: bytes) -> Any:
    """Read what an upstream sent.

    Raises:
        UpstreamBreach: It is not JSON, or has so many parts that reading it would keep others waiting.
    """
    if len(data) > _MOST_PARTS and data.count(b"[") + data.count(b"{") > _MOST_PARTS:
        raise UpstreamBreach("The server that runs this model sent an answer of too many parts.")
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        raise UpstreamBreach("The server that runs this model sent what is not JSON.") from None


def encode(value: object) -> bytes:
    """Write what goes out.

    Raises:
        UpstreamBreach: It is nested too deep, or holds a number that JSON's readers do not take.
    """
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        raise UpstreamBreach("The server that runs this model sent what cannot be passed on.") from None


def expected_choices(n: int | None, prompts: int = 1) -> int:
    """How many choices a request asks for: `n` for each prompt, where null is 1."""
    return (n or 1) * prompts


def inputs(value: Any) -> int:
    """How many prompts or texts a `prompt` or an `input` holds: a list of numbers is one."""
    return len(value) if isinstance(value, list) and value and not isinstance(value[0], int) else 1
