"""Entries that stand for many models: a `*` in the id, and a backend that lists them."""

import asyncio

import pytest
from lives import Lives, content, until

from specserve.backends.base import ModelSettings
from specserve.backends.patterns import matched, one_of, with_free_names
from specserve.config.shorthand import parse_model
from specserve.config.sources import load, located
from specserve.models.entries import ModelError
from specserve.models.registry import Registry


def entry(name, *listed, lives, **more):
    lives.mood(name, lists=listed)
    return {"id": name, **more}


@pytest.fixture(scope="module")
def lives(tmp_path_factory):
    lives = Lives(tmp_path_factory.mktemp("lives"))
    with lives.running("plain", entry("many/*", "a", "b", lives=lives, aliases=["other/*"])):
        yield lives


@pytest.fixture
def many(lives):
    """The server, as it was started."""
    yield lives
    with lives.serving("plain", entry("many/*", "a", "b", lives=lives, aliases=["other/*"])):
        assert until(lambda: lives.states() == dict.fromkeys(("plain", "many/a", "many/b"), "loaded"))


def test_each_of_them_is_a_model_under_the_names_of_the_entry(lives):
    assert lives.states() == dict.fromkeys(("plain", "many/a", "many/b"), "loaded")
    assert content(lives.ask("many/a")) == "hello"
    answer = lives.ask("other/b")
    assert (content(answer), answer.json()["model"]) == ("hello", "many/b")
    assert lives.ask("many/*").json()["error"]["code"] == "model_not_found"
    assert lives.ask("many/c").json()["error"]["code"] == "model_not_found"


def test_the_list_is_read_again_with_the_configuration(many):
    before = many.loads("a")
    with many.serving("plain", entry("many/*", "a", "c", lives=many)):
        assert until(lambda: many.states() == dict.fromkeys(("plain", "many/a", "many/c"), "loaded"))
        assert many.loads("a") == before, "what is in both lists was left alone"
        assert until(lambda: len(set(many.loads("b"))) == 1)


def test_a_list_that_cannot_be_had_changes_nothing(many):
    many.mood("many/*", fail="No list today.")
    many.write("plain", "new", {"id": "many/*"})
    many.hang_up()
    assert "many/*': No list today." in many.said("nothing has changed")[-1]
    assert many.states() == dict.fromkeys(("plain", "many/a", "many/b"), "loaded")
    assert content(many.ask("many/a")) == "hello"


def test_who_is_named_goes_before_who_is_found_and_the_first_entry_before_the_next(many):
    models = [
        entry("many/*", "a", "b", lives=many, owned_by="first", aliases=["x/*"]),
        entry("*/a", "many", "more", lives=many, owned_by="second"),
        {"id": "many/b", "owned_by": "itself"},
        {"id": "plain", "aliases": ["x/b"]},
    ]
    with many.serving(*models[2:], *models[:2]), many.server.client() as client:
        assert until(lambda: "more/a" in many.states())
        listed = {model["id"]: model for model in client.get("/v1/models").json()["data"]}
    assert listed.keys() == {"many/a", "many/b", "more/a", "plain", "x/a", "x/b"}
    assert [listed[name]["owned_by"] for name in ("many/a", "many/b", "more/a")] == ["first", "itself", "second"]
    assert [listed[name]["alias_of"] for name in ("x/a", "x/b")] == ["many/a", "plain"]


def refusal(tmp_path, text):
    """How a start ends, without a server around it."""
    config = tmp_path / "specserve.toml"
    config.write_text(text)
    settings = load(environ={}, config=config)
    with pytest.raises(ModelError) as caught:
        asyncio.run(Registry(settings.served_models).start())
    return str(located(caught.value, environ={}, config=config)).removeprefix(str(config))


def test_a_list_that_cannot_be_had_ends_the_start(tmp_path):
    (tmp_path / "list").write_text('{"fail": "No list today."}')
    table = f'[[models]]\nid = "*"\nbackend = "moody_backend:Moody"\nsource = "{tmp_path}/list"\n'
    assert refusal(tmp_path, table) == ", line 1: models[0]: model '*': No list today."


def test_a_backend_that_lists_nothing_ends_the_start(tmp_path):
    told = refusal(tmp_path, '[[models]]\nid = "*"\nbackend = "echo"\n')
    assert told.startswith(", line 2: models[0].id: model '*': backend 'echo' lists no models")


def test_what_one_of_them_cannot_keep_is_told_of_its_entry(tmp_path):
    (tmp_path / "list").write_text('{"lists": ["a"]}')
    told = refusal(
        tmp_path,
        f'[[models]]\nid = "m/*"\nbackend = "moody_backend:Moody"\nsource = "{tmp_path}/list"\n'
        "[models.defaults]\nreasoning_effort = 'low'\n",
    )
    assert told.startswith(", line 6: models[0].defaults.reasoning_effort: model 'm/a': a default of")


def test_a_list_that_cannot_be_had_is_asked_for_again_while_the_others_are_served(tmp_path):
    lives = Lives(tmp_path)
    lives.mood("many/*", fail="No list today.")
    with lives.running("plain", "many/*", on_load_failure="continue"):
        assert lives.states() == {"plain": "loaded"}
        assert lives.said("No list today.")
        lives.mood("many/*", lists=["a"])
        assert until(lambda: lives.states() == {"plain": "loaded", "many/a": "loaded"})


@pytest.mark.parametrize(
    ("pattern", "name", "star"),
    [
        ("*", "ibm/one", "ibm/one"),
        ("ibm/*", "ibm/one", "one"),
        ("ibm/*-chat", "ibm/one-chat", "one"),
        ("ibm/*", "meta/one", None),
        ("ibm/*", "ibm/", None),
        ("aba*aba", "aba", None),
        ("a[b]*", "a[b]c", "c"),
        ("*", "", None),
    ],
)
def test_a_pattern_has_one_star_for_one_character_or_more(pattern, name, star):
    assert matched(pattern, name) == star


@pytest.mark.parametrize(
    ("text", "name", "source"),
    [
        ("watsonx:*", "*", "*"),
        ("watsonx:ibm/*", "ibm/*", "ibm/*"),
        ("wx/*=watsonx:*", "wx/*", "*"),
        ("*=upstream:http://127.0.0.1:8080/v1", "*", "http://127.0.0.1:8080/v1"),
    ],
)
def test_the_command_line_can_say_it(text, name, source):
    model = parse_model(text)
    assert (model.id, model.source) == (name, source)


def test_a_name_is_given_once():
    settings = ModelSettings("m/*", "echo", aliases=("a/*", "m/*"))
    one, two = (one_of(settings, star) for star in ("1", "2"))
    named = [ModelSettings("a/1", "echo"), ModelSettings("x", "echo", aliases=("m/2",))]
    (left,) = with_free_names([one, two, one], named)
    assert (left.id, left.aliases, left.entry) == ("m/1", (), "m/*")
