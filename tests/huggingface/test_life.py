"""Models on transformers come and go."""

import pytest
from cycles import REAL, levels, memory
from lives import ADMIN, body, until
from servers import running


def configured(folder, models, names, **settings):
    lines = ['admin_keys = ["sk-admin"]', *(f"{name} = {value}" for name, value in settings.items())]
    for name in names:
        lines += ["[[models]]", f'id = "{name}"', 'backend = "huggingface"', f'source = "{models / "llama"}"']
        lines += ['load = "request"', "options = { num_threads = 1, cache_size_gb = 0.01 }"]
    (folder / "specserve.toml").write_text("\n".join(lines) + "\n")
    return str(folder / "specserve.toml")


@pytest.mark.timeout(1200)
def test_a_model_comes_and_goes_under_requests_and_leaves_no_memory_behind(models, tmp_path):
    with running("--config", configured(tmp_path, models, ["tiny"])) as server:
        seen, requests = levels(server, "tiny", REAL, "the quick")
        print(f"{REAL} cycles, {requests} requests, MB after each: {[round(level / 1e6) for level in seen]}")  # noqa: T201
        assert seen[-1] <= seen[0] * 1.1, seen


def test_the_engines_process_is_what_a_model_takes_and_gives_back(models, tmp_path):
    with (
        running("--config", configured(tmp_path, models, ["one", "two"], max_memory_mb=600)) as server,
        server.client() as client,
    ):

        def states():
            return {model["id"]: model["state"] for model in client.get("/v1/models").json()["data"]}

        empty = memory(server)
        for name, other in (("one", "two"), ("two", "one"), ("one", "two")):
            assert client.post("/v1/chat/completions", json=body(name, max_tokens=4)).status_code == 200
            # An engine takes 400 to 450 MB, nearly all of it libraries: two do not fit.
            assert until(lambda: states() == {name: "loaded", other: "unloaded"}), states()  # noqa: B023
        assert memory(server) > empty + 150_000_000
        assert client.post("/v1/models/one/unload", headers=ADMIN).status_code == 200
        assert memory(server) < empty + 100_000_000
