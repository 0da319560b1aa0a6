"""Which operation a path means: what the contract's templates say, and nothing about any one path in Python."""

from __future__ import annotations

import pytest

from specserve.spec.document import load
from specserve.spec.paths import Paths, UnreadablePath


def contract(*rows: tuple[str, str], **kinds: dict[str, str]) -> dict[str, object]:
    """A contract with these (path, operationId), whose path parameters have these schemas."""
    paths = {}
    for path, operation_id in rows:
        names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
        described = [{"name": name, "in": "path", "required": True, "schema": kinds[name]} for name in names]
        paths[path] = {"get": {"operationId": operation_id, "tags": ["Any"], "parameters": described, "responses": {}}}
    return {"openapi": "3.0.3", "paths": paths}


SEGMENT = {"type": "string"}
SEGMENTS = {"type": "string", "format": "path"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/files", ("listFiles", {})),
        ("/files/f-1", ("getFile", {"file": "f-1"})),
        ("/files/f-1/content", ("getContent", {"file": "f-1"})),
        ("/files/f-1/other", None),
        ("/files/a/b/content", None),
        ("/files/", None),
        ("/models/a", ("getModel", {"model": "a"})),
        ("/models/a/b/c", ("getModel", {"model": "a/b/c"})),
        ("/models/a/b/load", ("loadModel", {"model": "a/b"})),
        ("/models/", None),
        ("/unknown", None),
    ],
)
def test_only_a_parameter_of_the_format_path_holds_slashes(path, expected):
    paths = Paths(
        contract(
            ("/files", "listFiles"),
            ("/files/{file}", "getFile"),
            ("/files/{file}/content", "getContent"),
            ("/models/{model}", "getModel"),
            ("/models/{model}/load", "loadModel"),
            file=SEGMENT,
            model=SEGMENTS,
        )
    )
    found = paths.find(path)
    assert (found and (found[0]["GET"], found[1])) == expected


def test_the_more_literal_template_comes_first_however_long_a_parameters_name_is():
    paths = Paths(
        contract(
            ("/a/{a_parameter_with_a_very_long_name}", "longName"),
            ("/a/{x}/b", "moreLiteral"),
            a_parameter_with_a_very_long_name=SEGMENTS,
            x=SEGMENTS,
        )
    )
    assert paths.find("/a/1/b") == ({"GET": "moreLiteral"}, {"x": "1"})


def test_a_literal_part_of_a_template_is_no_pattern():
    paths = Paths(contract(("/v1.0/{x}", "getX"), x=SEGMENT))
    assert paths.find("/v1.0/a")
    assert paths.find("/v1x0/a") is None


@pytest.mark.parametrize("schema", [{"type": "integer"}, {}])
def test_a_path_parameter_that_is_no_string_is_refused_by_name(schema):
    with pytest.raises(UnreadablePath, match=r"getX: the path parameter 'x' must be a string"):
        Paths(contract(("/a/{x}", "getX"), x=schema))


def test_a_parameter_of_the_path_item_counts_as_well():
    document = contract(("/a/{x}", "getX"), x=SEGMENT)
    operation = document["paths"]["/a/{x}"]["get"]
    document["paths"]["/a/{x}"]["parameters"] = operation.pop("parameters")
    assert Paths(document).find("/a/1") == ({"GET": "getX"}, {"x": "1"})


def test_the_contracts_own_models_are_found_with_slashes_in_their_names():
    assert Paths(load()).find("/models/org/name:tag") == ({"GET": "retrieveModel"}, {"model": "org/name:tag"})
