"""Compare the contract with the published spec: every operation, property, type, enum, limit and requirement.

A schema that both sides keep under the same component name is compared once, under ``/schemas/NAME``. What is written
out on one side and a component on the other is compared in place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from specserve.spec.document import Operation, operations
from specserve.spec.errata import ABSENT, EXTENSION, Difference, Errata
from specserve.spec.references import resolve
from specserve.spec.shape import VALUES, Schema, component, shape, signature

# Where a schema is a component or a branch of a union, whether null is allowed is told by the place that uses it, and
# a default has no meaning.
_PLACELESS = frozenset({"nullable", "default"})


def diff(document: Schema, upstream: Schema, errata: Errata) -> list[Difference]:
    """Compare, and explain each difference.

    Args:
        document: The contract.
        upstream: The published spec, as `pin` reduces it.
        errata: What is known to differ, and what was left out.

    Returns:
        The differences in the order of their paths. One without an explanation is an error. A place in ``errata`` that
        explains nothing is a difference of the kind ``stale``.
    """
    found = _Comparison(document, upstream).run()
    return errata.explain(sorted(found, key=lambda difference: difference.path))


class _Comparison:
    def __init__(self, ours: Schema, theirs: Schema) -> None:
        self._ours = ours
        self._theirs = theirs
        self._pending: list[str] = []
        self._seen: set[str] = set()

    def run(self) -> Iterator[Difference]:
        yield from self._operations()
        while self._pending:
            name = self._pending.pop()
            pair = (side["components"]["schemas"][name] for side in (self._ours, self._theirs))
            yield from self._forms(f"/schemas/{name}", *pair, ignored=_PLACELESS)

    def _operations(self) -> Iterator[Difference]:
        ours, theirs = ({op.operation_id: op for op in operations(side)} for side in (self._ours, self._theirs))
        yield from _keys("/operations", ours, theirs, extensions={key for key, op in ours.items() if op.extension})
        for key in sorted(ours.keys() & theirs.keys()):
            yield from self._operation(f"/operations/{key}", ours[key], theirs[key])

    def _operation(self, path: str, ours: Operation, theirs: Operation) -> Iterator[Difference]:
        yield from _value(f"{path}/method", ours.method, theirs.method)
        yield from _value(f"{path}/path", ours.path, theirs.path)
        yield from _value(f"{path}/tags", ours.spec["tags"], theirs.spec["tags"])
        yield from _keys(f"{path}/security", _schemes(self._ours, ours), _schemes(self._theirs, theirs))
        mine, published = _parameters(self._ours, ours), _parameters(self._theirs, theirs)
        yield from _keys(f"{path}/parameters", mine, published)
        for key in sorted(mine.keys() & published.keys()):
            at = f"{path}/parameters/{key}"
            yield from _value(f"{at}/required", *(side[key].get("required", False) for side in (mine, published)))
            yield from self._schemas(f"{at}/schema", mine[key]["schema"], published[key]["schema"])
        yield from self._body(f"{path}/request", ours.spec.get("requestBody", {}), theirs.spec.get("requestBody", {}))
        answers, expected = ours.spec["responses"], theirs.spec["responses"]
        yield from _keys(f"{path}/responses", answers, expected)
        for status in sorted(answers.keys() & expected.keys()):
            yield from self._body(f"{path}/responses/{status}", answers[status], expected[status])

    def _body(self, path: str, ours: Schema, theirs: Schema) -> Iterator[Difference]:
        mine, published = resolve(self._ours, ours), resolve(self._theirs, theirs)
        yield from _value(f"{path}/required", mine.get("required", False), published.get("required", False))
        yield from _keys(f"{path}/headers", mine.get("headers", {}), published.get("headers", {}))
        here, there = mine.get("content", {}), published.get("content", {})
        yield from _keys(f"{path}/content", here, there)
        for media in sorted(here.keys() & there.keys()):
            yield from self._schemas(f"{path}/content/{_escape(media)}", here[media]["schema"], there[media]["schema"])

    def _schemas(
        self, path: str, ours: Schema, theirs: Schema, ignored: frozenset[str] = frozenset()
    ) -> Iterator[Difference]:
        """Compare what stands at a place."""
        name = component(self._ours, ours)
        if name is None or name != component(self._theirs, theirs):
            yield from self._forms(path, ours, theirs, ignored=ignored)
            return
        if name not in self._seen:
            self._seen.add(name)
            self._pending.append(name)
        mine, published = shape(self._ours, ours), shape(self._theirs, theirs)
        for key in sorted(_PLACELESS - ignored):
            yield from _keyword(path, key, mine, published)

    def _forms(self, path: str, ours: Schema, theirs: Schema, *, ignored: frozenset[str]) -> Iterator[Difference]:
        mine, published = shape(self._ours, ours), shape(self._theirs, theirs)
        if "branches" in mine or "branches" in published:
            for key in ("nullable", "default"):
                if key not in ignored:
                    yield from _keyword(path, key, mine, published)
            yield from self._branches(path, mine.get("branches", [ours]), published.get("branches", [theirs]))
            return
        for key in ("nullable", *VALUES):
            if key not in ignored:
                yield from _keyword(path, key, mine, published)
        requirements = (dict.fromkeys(side.get("required", ()), "required") for side in (mine, published))
        yield from _keys(f"{path}/required", *requirements)
        yield from self._properties(path, mine.get("properties", {}), published.get("properties", {}))
        for key in ("items", "additionalProperties"):
            inner = mine.get(key), published.get(key)
            if isinstance(inner[0], Mapping) and isinstance(inner[1], Mapping):
                yield from self._schemas(f"{path}/{key}", inner[0], inner[1], frozenset({"default"}))
            else:
                yield from _keyword(path, key, mine, published)

    def _properties(self, path: str, ours: Schema, theirs: Schema) -> Iterator[Difference]:
        mine = {key: signature(self._ours, node) for key, node in ours.items()}
        published = {key: signature(self._theirs, node) for key, node in theirs.items()}
        extensions = {key for key, node in ours.items() if node.get("x-specserve-extension")}
        yield from _keys(f"{path}/properties", mine, published, extensions=extensions)
        for key in sorted(ours.keys() & theirs.keys()):
            yield from self._schemas(f"{path}/properties/{key}", ours[key], theirs[key])

    def _branches(self, path: str, ours: list[Schema], theirs: list[Schema]) -> Iterator[Difference]:
        mine, published = _by_signature(self._ours, ours), _by_signature(self._theirs, theirs)
        shown = ({key: key for key in side} for side in (mine, published))
        yield from _keys(f"{path}/oneOf", *shown)
        for key in sorted(mine.keys() & published.keys()):
            yield from self._schemas(f"{path}/oneOf/{key}", mine[key], published[key], _PLACELESS)


def _by_signature(document: Schema, branches: list[Schema]) -> dict[str, Schema]:
    found: dict[str, Schema] = {}
    for branch in branches:
        name = signature(document, branch)
        twins = sum(key == name or key.startswith(f"{name}#") for key in found)
        found[f"{name}#{twins + 1}" if twins else name] = branch
    return found


def _schemes(document: Schema, operation: Operation) -> dict[str, str]:
    alternatives: list[Schema] = operation.spec["security"] if "security" in operation.spec else document["security"]
    return {name: "accepted" for alternative in alternatives for name in alternative}


def _parameters(document: Schema, operation: Operation) -> dict[str, Schema]:
    described = (resolve(document, parameter) for parameter in operation.spec.get("parameters", ()))
    return {f"{parameter['in']}:{parameter['name']}": parameter for parameter in described}


def _keys(path: str, ours: Schema, theirs: Schema, *, extensions: set[str] | None = None) -> Iterator[Difference]:
    """What only one of two mappings has."""
    for key in sorted(theirs.keys() - ours.keys()):
        yield Difference(f"{path}/{_escape(key)}", "missing", _shown(theirs[key]), ABSENT)
    for key in sorted(ours.keys() - theirs.keys()):
        explanation = EXTENSION if extensions and key in extensions else None
        yield Difference(f"{path}/{_escape(key)}", "extra", ABSENT, _shown(ours[key]), explanation)


def _keyword(path: str, key: str, ours: Schema, theirs: Schema) -> Iterator[Difference]:
    yield from _value(f"{path}/{key}", ours.get(key, ABSENT), theirs.get(key, ABSENT))


def _value(path: str, ours: object, theirs: object) -> Iterator[Difference]:
    if ours == theirs and isinstance(ours, bool) == isinstance(theirs, bool):
        return
    if ours == ABSENT:
        yield Difference(path, "missing", _shown(theirs), ABSENT)
    elif theirs == ABSENT:
        yield Difference(path, "extra", ABSENT, _shown(ours))
    else:
        yield Difference(path, "different", _shown(theirs), _shown(ours))


def _shown(value: Any) -> Any:
    """A value that fits into a report and into errata.yaml: a schema or an operation is only said to be there."""
    return "present" if isinstance(value, (Mapping, Operation)) else value


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
