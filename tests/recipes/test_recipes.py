"""The recipes of CONTRIBUTING.md, each followed with a toy: what it says, and nothing else.

The toys are built into one copy of the house, so that it is generated and checked once for all.
"""

import os
import subprocess
import sys

import pytest
from recipes.house import TOYS, House
from servers import running

EMPTY_OWNER = """\
  models.entry.owner-not-empty:
    text: The owner of a model SHOULD NOT be empty.
    pointer: '#/components/schemas/Model/properties/owned_by'
    mutants: [model-owner-empty]
"""
EMPTY_OWNER_CHECK = '''

@check("models.entry.owner-not-empty")
def owner_not_empty(answer: Answer) -> Iterator[Finding]:
    """Somebody owns it."""
    for model in items(answer.get("data")):
        if dig(model, "owned_by") == "":
            yield Finding("a name", "")
'''
EMPTY_OWNER_MUTANT = """\
model-owner-empty:
  what: The owner of a model is empty.
  when: {operation: [listModels, retrieveModel], status: 200}
  do:
    - set: {/data/*/owned_by: '', /owned_by: ''}
"""
SETTING = """\
    cors_max_age_seconds: int = Field(
        default=600,
        ge=0,
        description="How long a browser may keep what it was told of `cors_origins`.",
        json_schema_extra={"group": "Network"},
    )
"""
GAUGE_IN_CONTRACT = """\
        num_models_in_use:
          type: integer
          minimum: 0
          description: How many models answer at least one request.
"""
GAUGE = '''

@gauge
def num_models_in_use(models: Sequence[ServedModel]) -> int:
    """Models of which a request holds a lease."""
    return sum(model.in_use for model in models)
'''
# Runs the mutants that are named, as the gate in tests/conformance does, and says which are found out.
GATE = """
import sys
from specserve.conformance import mutants
from specserve.conformance.mutants import gate
from specserve.conformance.mutants.proxy import Proxy, serving

proxy = Proxy(gate.everything(sys.argv[1] + "/v1", "", "echo"))
with serving(proxy):
    chosen = [mutants.load()[name] for name in sys.argv[2:]]
    for kill in gate.run_all(proxy, gate.golden(proxy), chosen):
        print(kill.mutant.id, "is found out" if kill.clean else kill)
"""


def read(name):
    return (TOYS / name).read_text()


def describe(house, toy):
    """Into the contract."""
    house.edit("spec/swagger.yaml", before="\ncomponents:\n", text="\n" + read(f"{toy}/paths.yaml").rstrip() + "\n")
    house.edit("spec/swagger.yaml", after="  schemas:\n", text=read(f"{toy}/schemas.yaml"))


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    house = House(tmp_path_factory.mktemp("house"))

    # A new endpoint.
    describe(house, "endpoint")
    house.add("endpoint")
    house.append("conformance/mutants/rules.yaml", read("endpoint/mutants.yaml"))

    # A new kind of backend, with an endpoint for it.
    describe(house, "kind")
    house.add("kind")
    house.append("backends/abilities.py", read("kind/ability.txt"))
    house.edit("backends/abilities.py", after="import (\n", text="    Count,\n")
    house.edit("backends/abilities.py", after="    CreateCompletionResponse,\n", text="    CreateCountRequest,\n")
    row = '    "counting": "specserve.backends.counting:Counting",\n'
    house.edit("backends/table.py", before='    "echo": ', text=row)
    house.edit("pyproject.toml", before="echo | huggingface", text="counting | ")

    # A new requirement.
    house.append("conformance/requirements/models.yaml", EMPTY_OWNER)
    house.append("conformance/checks/models.py", EMPTY_OWNER_CHECK)
    house.append("conformance/mutants/rules.yaml", EMPTY_OWNER_MUTANT)

    # A new setting.
    house.edit("server/config/settings.py", before="    models: tuple[ReadModel", text=SETTING)
    read_where = '            allow_headers=["*"],\n'
    house.edit("server/http/app.py", after=read_where, text="            max_age=settings.cors_max_age_seconds,\n")

    # A new metric.
    place = "          description: How full the key-value cache is, as a fraction.\n"
    house.edit("spec/swagger.yaml", after=place, text=GAUGE_IN_CONTRACT)
    house.append("models/gauges.py", GAUGE)

    house.tox("generate")
    return house


@pytest.fixture(scope="module")
def server(house):
    arguments = ["--model", "echo", "--model", "counter=counting:any", "--validate-responses"]
    arguments += ["--cors-origin", "https://page.example", "--cors-max-age-seconds", "7"]
    with running(*arguments, environ=house.environ, cwd=house.root) as server:
        yield server


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


def test_what_was_added_passes_the_checks_of_lint(house):
    house.tox("lint")


def test_what_was_added_passes_the_tests_that_hold_the_lists_together(house):
    names = ["spec/test_contract.py", "spec/test_diff.py", "backends/test_abilities.py", "server/test_binding.py"]
    names += ["server/test_live_settings.py", "server/test_gauges.py", "conformance/test_requirements.py"]
    names += ["test_architecture.py"]
    house.run("python", "-m", "pytest", "-q", "-x", *(f"tests/{name}" for name in names))


def test_a_new_endpoint_answers(client):
    assert client.get("/v1/words/goose").json() == {"object": "word", "id": "goose", "length": 5}
    assert client.get("/words/goose/letters").json()["data"] == list("goose")
    assert client.delete("/v1/words/goose").json() == {"id": "goose", "deleted": True}
    assert client.get("/v1/words/goose/feathers").status_code == 404
    refused = client.put("/v1/words/goose")
    assert (refused.status_code, refused.headers["allow"]) == (405, "DELETE, GET, HEAD")


def test_web_pages_may_use_each_method_of_a_new_endpoint(client):
    asked = {"origin": "https://page.example", "access-control-request-method": "DELETE"}
    assert client.options("/v1/words/goose", headers=asked).status_code == 200


def test_a_new_endpoint_without_a_function_is_named_at_the_start(house):
    function = house.root / "handlers" / "words.py"
    aside = function.rename(function.with_suffix(".aside"))
    try:
        command = [sys.executable, "-m", "specserve", "serve", "--port", "0", "--model", "echo"]
        done = subprocess.run(
            command, env=house.environ, cwd=house.root, check=False, capture_output=True, text=True, timeout=120
        )
    finally:
        aside.rename(function)
    assert done.returncode == 1
    assert "operation without handler: specserve.handlers.words.list_letters" in done.stderr


def test_a_new_endpoint_and_a_new_requirement_are_judged(house, server):
    asked = ["--model", "echo", "--profile", "words", "--only", "words.*", "--only", "models.entry.owner-not-empty"]
    said = house.run("specserve", "conform", f"{server.url}/v1", *asked)
    assert "PASS 4\n" in said


def test_each_new_mutant_is_found_out(house, server):
    names = ["word-without-id", "word-too-long", "letters-sorted", "model-owner-empty"]
    said = house.run("python", "-c", GATE, server.url, *names)
    assert said.splitlines() == [f"{name} is found out" for name in names]


def test_a_new_kind_of_backend_answers_what_it_can_and_nothing_else(client):
    body = {"model": "counter", "input": "strawberry", "letter": "r"}
    assert client.post("/v1/counts", json=body).json() == {"object": "count", "count": 3}
    for wrong, code in (({**body, "letter": ""}, 400), ({**body, "model": "echo"}, 404), ({**body, "word": "x"}, 400)):
        assert client.post("/v1/counts", json=wrong).status_code == code
    chat = {"model": "counter", "messages": [{"role": "user", "content": "r"}]}
    assert client.post("/v1/chat/completions", json=chat).json()["error"]["code"] == "operation_not_supported"
    assert client.get("/v1/models/counter").json()["capabilities"]["operations"] == {"createCount": ["input", "letter"]}


def test_a_new_setting_has_effect_and_is_described(house, server, client):
    asked = {"origin": "https://page.example", "access-control-request-method": "GET"}
    assert client.options("/v1/models", headers=asked).headers["access-control-max-age"] == "7"
    assert "| `cors_max_age_seconds` | `--cors-max-age-seconds` |" in (house.root / "docs/configuration.md").read_text()


def test_a_new_metric_is_part_of_the_health(client):
    assert client.get("/health").json()["num_models_in_use"] == 0


def test_a_backend_outside_of_the_house_needs_nothing_in_it(tmp_path):
    config = tmp_path / "specserve.toml"
    config.write_text('[[models]]\nid = "loud"\nbackend = "shouting:Shouting"\n')
    environ = {"PYTHONPATH": os.pathsep.join([str(TOYS / "backend"), os.environ.get("PYTHONPATH", "")])}
    with running("--config", str(config), "--validate-responses", environ=environ) as server, server.client() as client:
        body = {"model": "loud", "messages": [{"role": "user", "content": "goose"}]}
        answer = client.post("/v1/chat/completions", json=body).json()
        assert answer["choices"][0]["message"]["content"] == "GOOSE"
