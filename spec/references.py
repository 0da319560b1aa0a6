"""Follow the references of a document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def resolve(document: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a ``$ref`` within the document, and those that it leads to."""
    while "$ref" in node:
        reference: str = node["$ref"]
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part.replace("~1", "/").replace("~0", "~")]
    return node


def accepts_null(document: Mapping[str, Any], schema: Mapping[str, Any]) -> bool:
    """Whether null is a value of a schema."""
    whole = resolve(document, schema)
    if whole.get("nullable") is True:
        return True
    if len(whole.get("allOf", ())) == 1:
        return accepts_null(document, whole["allOf"][0])
    return any(accepts_null(document, branch) for key in ("oneOf", "anyOf") for branch in whole.get(key, ()))
