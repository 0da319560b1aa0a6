"""What a `[[models]]` table may say, what becomes of it in requests, and where its faults are told to be."""

import json
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from lives import Lives, content

from specserve.backends.base import Limits
from specserve.cli.serve import serve
from specserve.config.sources import SettingsError, load
from specserve.config.toml_lines import line_of

DOCUMENT = Path(__file__).parents[2] / "docs" / "models.md"
FILE = """\
# what is served
port = 1

[[models]]
id = "first"
source = "echo"
aliases = [
    "one",
    "uno",  # both
]

[[models]]
id = "second"
backend = "echo"
owned_by = '''
us
'''
options = { tokens_per_second = 1, context_length = 9 }
[models.limits]
max_output_tokens = 3
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("port",), 2),
        (("models",), 4),
        (("models", 0), 4),
        (("models", 0, "source"), 6),
        (("models", 0, "aliases", 1), 7),
        (("models", 0, "backend"), 4),
        (("models", 1, "id"), 13),
        (("models", 1, "owned_by"), 15),
        (("models", 1, "options", "context_length"), 18),
        (("models", 1, "limits"), 19),
        (("models", 1, "limits", "max_output_tokens"), 20),
        ((), 1),
    ],
)
def test_a_key_is_found_on_the_line_where_its_statement_begins(path, line):
    assert line_of(FILE, path) == line
    assert line_of(FILE.replace("\n", "\r\n"), path) == line


def test_the_table_says_all_there_is_to_say(tmp_path):
    config = tmp_path / "specserve.toml"
    config.write_text(
        "load = 'manual'\nunload_after_seconds = 60\n" + FILE + "[models.defaults]\ntemperature = 0\nstop = ['x']\n"
    )
    first, second = load(environ={}, config=config).served_models
    assert (first.aliases, first.load, first.unload_after_seconds) == (("one", "uno"), "manual", 60)
    assert second.limits == Limits(max_output_tokens=3)
    assert second.defaults == {"temperature": 0, "stop": ["x"]}


def test_the_sample_of_the_documentation_is_accepted_and_its_fault_told_as_it_says(tmp_path):
    blocks = re.findall(r"```(?:toml)?\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    sample, fault = blocks[0], blocks[1]
    config = tmp_path / "specserve.toml"
    config.write_text(sample)
    assert [model.id for model in load(environ={}, config=config).models] == ["chat", "parrot"]
    assert f"specserve serve: {refusal(sample.replace('context_length', 'context_lenght'), tmp_path, '')}\n" == fault


def refusal(text, tmp_path, at=", "):
    """What `specserve serve` says of a file, without the file's name."""
    config = tmp_path / "specserve.toml"
    config.write_text(text)
    for name in ("late", "sick"):
        (tmp_path / f"{name}.json").write_text("{}")
    # Whatever the shell sets that the tests were started from.
    unset = {name: None for name in os.environ if name.startswith("SPECSERVE_")}
    result = CliRunner().invoke(serve, ["--config", str(config)], env=unset, catch_exceptions=False)
    assert result.exit_code == 2
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"Error: {config}, ")
    return last.removeprefix(f"Error: {config if at else config.parent}{at or '/'}")


ECHO = "[[models]]\nid = 'x'\nbackend = 'echo'\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (ECHO + "sorce = 'x'", "line 4: models[0].sorce: unknown setting"),
        (ECHO + "load = 'never'", "line 4: models[0].load: input should be 'start', 'request' or 'manual'"),
        (ECHO + "aliases = ['y', '']", "line 4: models[0].aliases[1]: string should have at least 1 character"),
        (ECHO + "aliases = ['y/load']", "line 4: models[0].aliases[0]: a name must not end with /load or /unload"),
        (ECHO + "[models.limits]\nmax_output = 3", "line 5: models[0].limits.max_output: unknown setting"),
        (ECHO + "[models.limits]\ncontext_length = 0", "line 5: models[0].limits.context_length: input should be"),
        (ECHO + "\n[models.options]\ntokens = 1\n", "line 6: models[0].options.tokens: model 'x': there is no option"),
        (ECHO + "options = { context_length = 'x' }", "line 4: models[0].options.context_length: model 'x': option"),
        (ECHO + "defaults = { messages = 1 }", "line 4: models[0].defaults.messages: model 'x': 'messages' cannot"),
        (ECHO + "[models.defaults]\ntemperature = 'hot'", "line 5: models[0].defaults.temperature: model 'x': default"),
        (ECHO + "[models.defaults]\ntemperature = 3", "line 5: models[0].defaults.temperature: model 'x': default"),
        (
            ECHO + "defaults = { max_tokens = 9 }\nlimits = { max_output_tokens = 8 }",
            "line 4: models[0].defaults.max_tokens: model 'x': default 'max_tokens' is over the model's limit",
        ),
        (ECHO + ECHO, "line 5: models[1].id: two models have the id 'x'"),
        (ECHO + ECHO.replace("'x'", "'y'") + "aliases = ['x']", "line 7: models[1].aliases: model 'y': the alias 'x'"),
        (ECHO.replace("echo", "vllm"), "line 3: models[0].backend: model 'x': there is no backend 'vllm'"),
        (ECHO.replace("'x'", "'*/*'"), "line 2: models[0].id: model '*/*': an id has one '*' at most"),
        (ECHO + "aliases = ['y/*']", "line 4: models[0].aliases[0]: model 'x': the alias 'y/*' has a '*' only if"),
        (
            ECHO.replace("'x'", "'*'") + "aliases = ['y']",
            "line 4: models[0].aliases[0]: model '*': the alias 'y' needs one '*'",
        ),
        ("[[models]]\nsource = '/no/such/model'", "line 1: models[0]: model 'model': "),
        ("models = ['echo', 'a=vllm:x']", "line 1: models[1]: there is no backend 'vllm'"),
    ],
)
def test_a_fault_is_told_with_file_line_and_key(text, told, tmp_path):
    assert refusal(text, tmp_path).startswith(told)


@pytest.fixture(scope="module")
def lives(tmp_path_factory):
    lives = Lives(tmp_path_factory.mktemp("lives"))
    models = [
        {"id": "plain"},
        {"id": "set", "aliases": ["alias/of set"], "defaults": {"max_tokens": 2, "stop": ["d"], "top_k": 1}},
        {"id": "short", "limits": {"max_output_tokens": 3, "context_length": 40}},
        {"id": "vain", "load": "request", "defaults": {"reasoning_effort": "low"}},
    ]
    with lives.running(*models):
        yield lives


def complete(lives, model, prompt, **more):
    with lives.server.client() as client:
        answer = client.post("/v1/completions", json={"model": model, "prompt": prompt, **more})
    return answer.json()["choices"][0]["text"] if answer.status_code == 200 else answer.json()["error"]


def test_defaults_hold_where_the_request_does_not_say(lives):
    assert content(lives.ask("set", "hello world")) == "hell"
    assert content(lives.ask("set", "hello world", max_tokens=None)) == "hell"
    assert content(lives.ask("set", "hello world", max_tokens=4)) == "hello wo"
    assert content(lives.ask("set", "hello world", max_completion_tokens=4)) == "hello wo"
    assert content(lives.ask("set", "hello world", max_tokens=20)) == "hello worl"
    assert content(lives.ask("set", "hello world", max_tokens=20, stop="o")) == "hell"
    assert content(lives.ask("plain", "hello world")) == "hello world"
    assert complete(lives, "set", "hello") == "hell"


def test_an_alias_is_another_name_of_a_model(lives):
    answer = lives.ask("alias/of set", "hello world")
    assert (content(answer), answer.json()["model"]) == ("hell", "set")
    with lives.server.client() as client:
        listed = {model["id"]: model for model in client.get("/v1/models").json()["data"]}
        for path in ("alias%2Fof%20set", "alias/of%20set"):
            assert client.get(f"/v1/models/{path}").json() == listed["alias/of set"]
    assert listed["alias/of set"]["alias_of"] == "set"
    assert "alias_of" not in listed["set"]
    assert listed["alias/of set"]["capabilities"] == listed["set"]["capabilities"]


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_more_tokens_than_the_model_gives_are_refused(lives, name):
    refusal = lives.ask("short", **{name: 4})
    assert refusal.status_code == 400
    assert refusal.json()["error"] == {
        "message": "This model answers with 3 tokens at most.",
        "type": "invalid_request_error",
        "param": name,
        "code": "unsupported_value",
    }
    assert content(lives.ask("short", "hello world", **{name: 2})) == "hell"
    cut = lives.ask("short", "hello world").json()["choices"][0]
    assert (cut["message"]["content"], cut["finish_reason"]) == ("hello ", "length")
    assert complete(lives, "short", "hello world") == "hello "
    assert complete(lives, "short", "hello world", max_tokens=4)["param"] == "max_tokens"


def test_a_shorter_context_is_kept_and_shown(lives):
    with lives.server.client() as client:
        assert client.get("/v1/models/short").json()["capabilities"]["context_length"] == 40
    assert lives.ask("short", "x" * 100).json()["error"]["code"] == "context_length_exceeded"
    assert content(lives.ask("plain", "x" * 100)) == "x" * 100


def test_a_default_without_effect_on_the_model_is_an_error_when_it_loads(lives):
    assert "'reasoning_effort' would have no effect" in lives.ask("vain").json()["error"]["message"]


def test_and_at_start_its_line_is_told(tmp_path):
    apart = Lives(tmp_path)
    told = r"line \d+: models\[0\]\.defaults\.reasoning_effort: model 'vain': a default of 'reasoning_effort' would"
    with (
        pytest.raises(AssertionError, match=told),
        apart.running({"id": "vain", "defaults": {"reasoning_effort": "low"}}),
    ):
        pass


def legacy(**environ):
    return load(environ=environ).served_models


def test_variables_of_replaced_servers_are_those_of_the_backend_on_torch(tmp_path):
    (model,) = legacy(HF_MODEL="org/model", TORCH_DTYPE="torch.bfloat16", ATTN_IMPLEMENTATION="sdpa")
    assert (model.id, model.backend, model.source) == ("org/model", "huggingface", "hf:org/model")
    assert model.options == {"dtype": "bfloat16", "attn_implementation": "sdpa"}
    (model,) = legacy(HF_MODEL=str(tmp_path))
    assert (model.backend, model.source, model.options) == ("huggingface", str(tmp_path), {})


def test_variables_of_replaced_servers_name_the_model_and_when_it_loads(tmp_path):
    (model,) = legacy(HF_MODEL=str(tmp_path))
    assert (model.id, model.source, model.load) == (tmp_path.name, str(tmp_path), "start")
    assert legacy(HF_MODEL=str(tmp_path), HOTLOAD="false")[0].load == "request"
    assert legacy(HF_MODEL=str(tmp_path), HOTLOAD="True")[0].load == "start"
    assert legacy(HF_MODEL=str(tmp_path), HOTLOAD="0", SPECSERVE_LOAD="manual")[0].load == "manual"


def test_variables_of_replaced_servers_count_only_where_no_model_is_configured():
    assert [model.id for model in legacy(HF_MODEL="org/model", SPECSERVE_MODELS="echo", HOTLOAD="x")] == ["echo"]
    assert legacy(HOTLOAD="0", TORCH_DTYPE="float16") == legacy()


def test_what_variables_of_replaced_servers_say_wrongly_is_told_in_one_line():
    with pytest.raises(SettingsError) as error:
        load(environ={"HF_MODEL": "/", "HOTLOAD": "perhaps"})
    assert str(error.value).startswith("HOTLOAD must be true or false")
    assert "\n" not in str(error.value)


def test_the_command_lists_loads_and_unloads(lives, monkeypatch):
    from specserve.cli.models import models

    def run(*arguments, key="sk-admin"):
        monkeypatch.setenv("SPECSERVE_ADMIN_KEY", key)
        return CliRunner().invoke(models, [*arguments, "--server", lives.server.url])

    rows = [line.split(maxsplit=1) for line in run("list").stdout.splitlines()]
    assert ["plain", "loaded"] in rows
    assert ["alias/of", "set  loaded (alias of set)"] in rows
    assert run("unload", "plain").stdout == "plain  unloaded\n"
    assert run("load", "plain").stdout == "plain  loaded\n"
    refused = run("load", "plain", key="sk-other")
    assert refused.exit_code == 1
    assert "403" in refused.stderr
    assert "SPECSERVE_ADMIN_KEY" in refused.stderr
    missing = run("load", "no such")
    assert (missing.exit_code, "404" in missing.stderr) == (1, True)
    failed = run("load", "vain")
    assert "would have no effect" in failed.stderr
    assert json.dumps(failed.stderr).count("\\n") == 1
