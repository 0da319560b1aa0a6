"""The comparison with the published spec: clean as it stands, and not blind."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from specserve.spec import cli
from specserve.spec.diff import diff
from specserve.spec.document import as_written, parse
from specserve.spec.errata import Difference, Errata, with_tables
from specserve.spec.pin import NotPublishedError, pin

SPEC = Path(cli.__file__).parent
UPSTREAM = parse((SPEC / "upstream.yaml").read_bytes())
ERRATA = parse((SPEC / "errata.yaml").read_bytes())
README = Path(__file__).parents[2] / "spec" / "README.md"

CHAT = "CreateChatCompletionRequest"


@pytest.fixture
def document() -> dict[str, Any]:
    return copy.deepcopy(as_written())


def unexplained(document: dict[str, Any], errata: dict[str, Any] = ERRATA) -> list[Difference]:
    return [found for found in diff(document, UPSTREAM, Errata.read(errata)) if found.explanation is None]


def properties(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"][name]["properties"]
    return found


def test_every_difference_is_explained(document: dict[str, Any]) -> None:
    assert unexplained(document) == []


def test_a_removed_property_is_missing(document: dict[str, Any]) -> None:
    del properties(document, CHAT)["temperature"]
    (found,) = unexplained(document)
    assert (found.kind, found.path) == ("missing", f"/schemas/{CHAT}/properties/temperature")


def test_a_removed_response_property_is_missing(document: dict[str, Any]) -> None:
    del properties(document, "PromptTokensDetails")["cached_tokens"]
    (found,) = unexplained(document)
    assert found.kind == "missing"
    assert found.path.endswith("/prompt_tokens_details/properties/cached_tokens")


def test_an_enum_that_lost_a_value_is_different(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["ServiceTier"]["enum"].remove("flex")
    (found,) = unexplained(document)
    assert (found.kind, found.path) == ("different", "/schemas/ServiceTier/enum")
    assert "flex" in found.upstream
    assert "flex" not in found.ours


def test_a_property_of_our_own_is_extra_unless_it_is_marked(document: dict[str, Any]) -> None:
    properties(document, CHAT)["mood"] = {"type": "string"}
    (found,) = unexplained(document)
    assert (found.kind, found.path) == ("extra", f"/schemas/{CHAT}/properties/mood")
    properties(document, CHAT)["mood"]["x-specserve-extension"] = True
    assert unexplained(document) == []


@pytest.mark.parametrize(
    ("name", "key", "value", "kind"),
    [
        ("temperature", "maximum", 1, "different"),
        ("temperature", "type", "integer", "different"),
        ("temperature", "nullable", False, "missing"),
        ("temperature", "default", 0.7, "different"),
        ("safety_identifier", "maxLength", 32, "different"),
        ("user", "maxLength", 64, "extra"),
        ("user", "pattern", "^a", "extra"),
    ],
)
def test_a_changed_limit_is_seen(document: dict[str, Any], name: str, key: str, value: Any, kind: str) -> None:
    properties(document, CHAT)[name][key] = value
    (found,) = unexplained(document)
    assert found.path == f"/schemas/{CHAT}/properties/{name}/{key}"
    assert found.kind == kind


def test_a_changed_requirement_is_seen(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["Model"]["required"] = ["id", "object", "created", "shutdown_date"]
    found = {(difference.kind, difference.path) for difference in unexplained(document)}
    assert found == {
        ("missing", "/schemas/Model/required/owned_by"),
        ("extra", "/schemas/Model/required/shutdown_date"),
    }


def test_a_lost_branch_of_a_union_is_missing(document: dict[str, Any]) -> None:
    del document["components"]["schemas"]["ChatCompletionRequestUserMessageContentPart"]["oneOf"][1]
    (found,) = unexplained(document)
    assert found.kind == "missing"
    assert found.path == "/schemas/ChatCompletionRequestUserMessageContentPart/oneOf/object:image_url"


def test_a_lost_operation_status_and_stream_are_missing(document: dict[str, Any]) -> None:
    del document["paths"]["/models"]["get"]
    chat = document["paths"]["/chat/completions"]["post"]["responses"]
    del chat["429"]
    del chat["200"]["content"]["text/event-stream"]
    missing = [difference.path for difference in unexplained(document) if difference.kind == "missing"]
    assert missing == [
        "/operations/createChatCompletion/responses/200/content/text~1event-stream",
        "/operations/createChatCompletion/responses/429",
        "/operations/listModels",
    ]


def test_an_erratum_that_explains_nothing_is_stale(document: dict[str, Any]) -> None:
    errata = copy.deepcopy(ERRATA)
    errata["errata"].append(
        {"id": "old", "what": "", "why": "", "at": [{"pointer": "/schemas/Model/properties/id/type"}]}
    )
    (found,) = unexplained(document, errata)
    assert (found.kind, found.path) == ("stale", "/schemas/Model/properties/id/type")


def test_an_entry_of_what_was_left_out_is_stale_once_it_is_in(document: dict[str, Any]) -> None:
    errata = copy.deepcopy(ERRATA)
    errata["left_out"].append({"what": "", "why": "", "at": [{"pointer": f"/schemas/{CHAT}/properties/user"}]})
    (found,) = unexplained(document, errata)
    assert found.kind == "stale"


def test_an_erratum_explains_only_the_values_that_it_names(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["Metadata"]["maxProperties"] = 8
    found = {(difference.kind, difference.path) for difference in unexplained(document)}
    assert found == {("extra", "/schemas/Metadata/maxProperties"), ("stale", "/schemas/Metadata/maxProperties")}


def test_what_is_missing_is_not_explained_as_an_extension(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["Model"]["x-specserve-extension"] = True
    del properties(document, "Model")["owned_by"]
    document["components"]["schemas"]["Model"]["required"].remove("owned_by")
    assert {difference.kind for difference in unexplained(document)} == {"missing"}


def test_the_command_ends_with_a_line_of_counts() -> None:
    result = CliRunner().invoke(cli.spec, ["diff"])
    assert result.exit_code == 0
    assert result.output.splitlines()[-1].endswith("0 stale; 0 unexplained")


def test_the_command_fails_on_what_is_unexplained(monkeypatch: pytest.MonkeyPatch, document: dict[str, Any]) -> None:
    properties(document, CHAT)["mood"] = {"type": "string"}
    monkeypatch.setattr(cli, "as_written", lambda: document)
    result = CliRunner().invoke(cli.spec, ["diff"])
    assert result.exit_code == 1
    assert result.output.startswith("UNEXPLAINED\n  extra")
    assert result.output.splitlines()[-1].endswith("1 unexplained")


def test_pinning_drops_prose_and_is_idempotent(tmp_path: Path) -> None:
    published = tmp_path / "published.yaml"
    document = copy.deepcopy(UPSTREAM)
    model = document["components"]["schemas"]["Model"]
    model["description"] = "Prose."
    model["properties"]["id"].update({"description": "Prose.", "example": "a", "x-vendor": 1})
    model["properties"]["title"] = {"type": "string", "title": "Prose"}
    document["components"]["schemas"]["Unused"] = {"type": "string"}
    document["paths"]["/files"] = {"get": {"operationId": "listFiles"}}
    published.write_text(json.dumps(document), encoding="utf-8")
    result = CliRunner().invoke(cli.spec, ["pin", str(published), "--output", str(tmp_path / "upstream.yaml")])
    assert result.exit_code == 0, result.output
    pinned = parse((tmp_path / "upstream.yaml").read_bytes())
    del document["paths"]["/files"]
    expected = copy.deepcopy(UPSTREAM)
    expected["components"]["schemas"]["Model"]["properties"]["title"] = {"type": "string"}
    assert pinned == expected
    assert pin(tmp_path / "upstream.yaml") == (tmp_path / "upstream.yaml").read_text(encoding="utf-8")


def test_pinning_needs_every_served_operation(tmp_path: Path) -> None:
    published = tmp_path / "published.yaml"
    published.write_text("{openapi: 3.1.0, info: {version: '1'}, paths: {}}", encoding="utf-8")
    with pytest.raises(NotPublishedError, match="createChatCompletion"):
        pin(published)
    result = CliRunner().invoke(cli.spec, ["pin", str(published), "--output", str(tmp_path / "out.yaml")])
    assert result.exit_code == 1
    assert not (tmp_path / "out.yaml").exists()


def test_the_pinned_file_says_its_version_and_is_small() -> None:
    text = (SPEC / "upstream.yaml").read_text(encoding="utf-8")
    assert UPSTREAM["info"]["version"] in text.splitlines()[0]
    assert len(text) < 1 << 20


def test_the_tables_of_the_readme_are_current() -> None:
    text = README.read_text(encoding="utf-8")
    assert with_tables(text, Errata.read(ERRATA)) == text


def test_the_command_writes_the_tables(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("A\n<!-- begin left-out -->\nold\n<!-- end left-out -->\nB\n", encoding="utf-8")
    result = CliRunner().invoke(cli.spec, ["tables", str(readme)])
    text = readme.read_text(encoding="utf-8")
    assert result.exit_code == 0
    assert "OpenAI's model names" in text
    assert "old" not in text
    assert text.endswith("<!-- end left-out -->\nB\n")
